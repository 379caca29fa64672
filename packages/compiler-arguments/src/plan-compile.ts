import { readCommandWords, textOfWords, type CommandWord } from './command-words.ts';
import { confinedEntry } from './confined-entry.ts';
import { dependencyWords, type DependencyFile } from './dependency-words.ts';
import { localReasonOf } from './local-options.ts';
import type { LocalReason } from './local-reasons.ts';
import { mappedPath } from './mapped-path.ts';
import { roleOf } from './option-roles.ts';
import { languageOfFile, languageOfName, type SourceLanguage } from './source-languages.ts';

/** Which compiler's rules hold. */
export type CompilerFamily = 'gcc' | 'clang';

/** What a command line is read by. */
export interface PlanCompileOptions {
  readonly family: CompilerFamily;
  /** Absolute, as the compiler notes it in debug information. */
  readonly workingFolder: string;
  /** Variables of the compiler; some keep a compile here. Default none. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** A compile that another machine can do, in two steps. Arguments are those behind the compiler's name. */
export interface CompilePlan {
  readonly kind: 'plan';
  readonly language: SourceLanguage;
  /** As on the command line. */
  readonly input: string;
  /** Where the result goes, relative to the working folder or absolute. */
  readonly output: string;
  /** Written by the first step; absent: none is wanted, or `-Wp,` alone knows of it. */
  readonly dependencyFile?: string;
  /**
   * What the first step writes: a source with its macros as they were, so that each place in debug information and each
   * warning stays, or one with its macros replaced.
   */
  readonly mode: 'macros' | 'expanded';
  /** The first step, here: writes to standard output, and the dependency file. */
  readonly preprocessArguments: readonly string[];
  /** The second step, elsewhere, in the folder /src: reads /src/{@link entryPath}, writes /out/{@link outputName}. */
  readonly compileArguments: readonly string[];
  readonly entryPath: string;
  readonly outputName: string;
}

/** A command line that stays on this machine. */
export interface LocalCompile {
  readonly kind: 'local';
  readonly reason: LocalReason;
  /** The word that says so; empty where it is a missing one. */
  readonly detail: string;
}

/**
 * Says how the command line behind a compiler's name can be done elsewhere, or why it stays here. Response files must be
 * expanded before. Objects of both ways are equal to the byte as long as neither step says anything: whoever follows
 * the plan runs the whole compile here where one does, for the warnings show lines of files that only this machine has.
 */
export function planCompile(texts: readonly string[], options: PlanCompileOptions): CompilePlan | LocalCompile {
  const words = readCommandWords(texts);
  const environment = Object.entries(options.environment ?? {}).find(
    ([name, value]) => value !== undefined && telling.has(name),
  );
  if (environment !== undefined) return local('ENVIRONMENT', environment[0]);
  for (const word of words) {
    const reason = localReasonOf(word);
    if (reason !== undefined) return local(reason, textOfWords([word]).join(' '));
  }
  const inputs = inputsOf(words);
  if (inputs.length === 0) return local('NO_INPUT', '');
  if (!words.some((word) => isFlag(word, '-c') || isFlag(word, '-S'))) return local('LINKS', '');
  if (inputs.length > 1) return local('SEVERAL_INPUTS', inputs.map(({ path }) => path).join(' '));
  const { path: input, languageName } = inputs[0]!;
  if (input === '-') return local('STDIN', '-');
  if (input.startsWith('@')) return local('UNKNOWN_OPTION', input);
  const found = languageName === undefined ? languageOfFile(input) : languageOfName(languageName);
  if (found.kind !== 'source') return local(reasonOfKind[found.kind], languageName ?? input);
  if (found.isPreprocessed) return local('PREPROCESSED_INPUT', input);
  const output = outputOf(words, input);
  if (output === undefined) return local('OUTPUT_NOT_A_FILE', '-o');
  return planned(words, { input, output, language: found.language }, options);
}

function planned(
  words: readonly CommandWord[],
  source: { readonly input: string; readonly output: string; readonly language: SourceLanguage },
  options: PlanCompileOptions,
): CompilePlan | LocalCompile {
  const { input, output, language } = source;
  const isDebug = hasDebug(words);
  const isPedantic = words.some(asksForPedantry);
  const sanitizer = words.find((word) => word.kind === 'option' && word.name === '-fsanitize=');
  // GCC calls the lines that say where text comes from an extension, and warns of them outside of expanded text.
  if ((isDebug || sanitizer) && isPedantic && options.family === 'gcc') return local('PEDANTIC_DEBUG', '');
  if ((isDebug || sanitizer) && options.family === 'clang') return local('CLANG_DEBUG', '');
  // Clang tells files of the first step's text apart from those that it read itself.
  const mode = options.family === 'gcc' && !isPedantic ? 'macros' : 'expanded';
  const entry = confinedEntry(input, mode === 'macros' ? undefined : language);
  if (sanitizer !== undefined && entry.isMoved) return local('SANITIZER_PATH', textOfWords([sanitizer]).join(''));
  const kept = words.filter((word) => !isOf(word, '-o') && word.kind !== 'input' && !isOf(word, '-x'));
  const dependencies: DependencyFile = dependencyWords(words, { input, output });
  const firstStep = mode === 'macros' ? ['-fdirectives-only'] : [];
  const named = words.some((word) => isOf(word, '-x')) ? ['-x', language] : [];
  const outputName = output.slice(output.lastIndexOf('/') + 1);
  return {
    kind: 'plan',
    language,
    input,
    output,
    mode,
    ...(dependencies.path === undefined ? {} : { dependencyFile: dependencies.path }),
    preprocessArguments: [
      ...textOfWords(kept.filter((word) => roleOf(word) !== 'linker' && !isFlag(word, '-c') && !isFlag(word, '-S'))),
      ...dependencies.added,
      '-E',
      ...firstStep,
      ...named,
      input,
    ],
    compileArguments: [
      ...textOfWords(kept.filter((word) => roleOf(word) === 'compiler')),
      ...(mode === 'macros' ? ['-nostdinc'] : []),
      ...(isDebug && mode === 'macros' ? prefixMaps(words, input, entry, options.workingFolder) : []),
      ...(mode === 'macros' ? named : []),
      entry.path,
      '-o',
      `/out/${outputName}`,
    ],
    entryPath: entry.path,
    outputName,
  };
}

/** Gives debug information the folder and the name that it would have had; the last one that fits is taken. */
function prefixMaps(
  words: readonly CommandWord[],
  input: string,
  entry: { readonly path: string; readonly isMoved: boolean },
  workingFolder: string,
): string[] {
  const folder = `-fdebug-prefix-map=/src=${mappedPath(workingFolder, words)}`;
  return entry.isMoved ? [folder, `-fdebug-prefix-map=${entry.path}=${mappedPath(input, words)}`] : [folder];
}

/** Variables with which a compiler does something else than its arguments say. */
const telling = new Set([
  'DEPENDENCIES_OUTPUT',
  'SUNPRO_DEPENDENCIES',
  'COMPILER_PATH',
  'GCC_EXEC_PREFIX',
  'GCC_COMPARE_DEBUG',
  'CCC_OVERRIDE_OPTIONS',
  'CC_PRINT_OPTIONS',
  'CC_PRINT_HEADERS',
]);

const reasonOfKind = {
  header: 'PRECOMPILED_HEADER',
  assembler: 'ASSEMBLER',
  other: 'LANGUAGE',
  object: 'LINKER_INPUT',
} as const;

/** With the language that the last `-x` before it says; `none` takes that back. */
function inputsOf(words: readonly CommandWord[]): { readonly path: string; readonly languageName?: string }[] {
  const found: { path: string; languageName?: string }[] = [];
  let languageName: string | undefined;
  for (const word of words) {
    if (word.kind === 'option' && word.name === '-x') languageName = word.value === 'none' ? undefined : word.value;
    if (word.kind === 'input') found.push({ path: word.text, ...(languageName === undefined ? {} : { languageName }) });
  }
  return found;
}

/** Undefined where it is none that can be replaced. */
function outputOf(words: readonly CommandWord[], input: string): string | undefined {
  const given = words.findLast((word) => isOf(word, '-o'));
  if (given?.kind === 'option') {
    return given.value === '-' || given.value.startsWith('/dev/') || /(^|\/)\.{0,2}$/.test(given.value)
      ? undefined
      : given.value;
  }
  const name = input.slice(input.lastIndexOf('/') + 1);
  const dot = name.lastIndexOf('.');
  return `${dot > 0 ? name.slice(0, dot) : name}${words.some((word) => isFlag(word, '-S')) ? '.s' : '.o'}`;
}

function hasDebug(words: readonly CommandWord[]): boolean {
  const levels = words.flatMap((word) =>
    word.kind === 'flag' && /^-g(\d|gdb\d?|dwarf.*|stabs.*|line-tables-only|mlt|used|full)?$/.test(word.name)
      ? [word.name]
      : [],
  );
  const last = levels.at(-1);
  return last !== undefined && !/^-g(gdb)?0$/.test(last);
}

function asksForPedantry(word: CommandWord): boolean {
  if (word.kind === 'option') return word.name === '-Werror=' && word.value === 'pedantic';
  return word.kind === 'flag' && /^-(-|W)?pedantic(-errors)?$/.test(word.name);
}

function isFlag(word: CommandWord, name: string): boolean {
  return word.kind === 'flag' && word.name === name;
}

function isOf(word: CommandWord, name: string): boolean {
  return word.kind === 'option' && word.name === name;
}

function local(reason: LocalReason, detail: string): LocalCompile {
  return { kind: 'local', reason, detail };
}
