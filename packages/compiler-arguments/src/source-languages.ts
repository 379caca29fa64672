/** What can be compiled elsewhere, by the name that `-x` takes. */
export type SourceLanguage = 'c' | 'c++' | 'objective-c' | 'objective-c++';

/** A language as a file's name or `-x` tells it. */
export type FoundLanguage =
  | { readonly kind: 'source'; readonly language: SourceLanguage; readonly isPreprocessed: boolean }
  | { readonly kind: 'header' | 'assembler' | 'other' | 'object' };

const sources: Readonly<Record<string, SourceLanguage>> = {
  c: 'c',
  cc: 'c++',
  cp: 'c++',
  cxx: 'c++',
  cpp: 'c++',
  CPP: 'c++',
  'c++': 'c++',
  C: 'c++',
  m: 'objective-c',
  mm: 'objective-c++',
  M: 'objective-c++',
};
const preprocessed: Readonly<Record<string, SourceLanguage>> = {
  i: 'c',
  ii: 'c++',
  mi: 'objective-c',
  mii: 'objective-c++',
};
const headers = new Set(['h', 'hh', 'H', 'hp', 'hxx', 'hpp', 'HPP', 'h++', 'tcc']);
const assembler = new Set(['s', 'S', 'sx']);
const others = new Set(
  'f for ftn F FOR fpp FPP FTN f90 f95 f03 f08 F90 F95 F03 F08 go d di dd ads adb ada cu cui hip cl ll bc cppm ccm cxxm ixx mod'.split(
    ' ',
  ),
);

/** By the ending of its name. A name with an ending that GCC does not know is for the linker. */
export function languageOfFile(path: string): FoundLanguage {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  const ending = dot < 0 ? '' : name.slice(dot + 1);
  if (Object.hasOwn(sources, ending)) return { kind: 'source', language: sources[ending]!, isPreprocessed: false };
  if (Object.hasOwn(preprocessed, ending)) {
    return { kind: 'source', language: preprocessed[ending]!, isPreprocessed: true };
  }
  if (headers.has(ending)) return { kind: 'header' };
  if (assembler.has(ending)) return { kind: 'assembler' };
  return { kind: others.has(ending) ? 'other' : 'object' };
}

/** By the value of `-x`. */
export function languageOfName(name: string): FoundLanguage {
  const cpp = /^(c|c\+\+|objective-c|objective-c\+\+)-cpp-output$/.exec(name)?.[1];
  if (name === 'cpp-output') return { kind: 'source', language: 'c', isPreprocessed: true };
  if (cpp !== undefined) return { kind: 'source', language: cpp as SourceLanguage, isPreprocessed: true };
  if (name === 'c' || name === 'c++' || name === 'objective-c' || name === 'objective-c++') {
    return { kind: 'source', language: name, isPreprocessed: false };
  }
  if (name.endsWith('-header')) return { kind: 'header' };
  return { kind: name.startsWith('assembler') ? 'assembler' : 'other' };
}
