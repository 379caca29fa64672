import type { SourceLanguage } from './source-languages.ts';

const expandedEndings: Readonly<Record<SourceLanguage, string>> = {
  c: 'i',
  'c++': 'ii',
  'objective-c': 'mi',
  'objective-c++': 'mii',
};

/**
 * Where a source stands below /src: under its own name where that stays there, else in a folder made for it, since the
 * object notes the last part of the name. Expanded text of a language says its true name itself.
 */
export function confinedEntry(
  input: string,
  expanded: SourceLanguage | undefined,
): { readonly path: string; readonly isMoved: boolean } {
  const name = input.slice(input.lastIndexOf('/') + 1);
  if (expanded !== undefined) {
    const dot = name.lastIndexOf('.');
    return { path: `${dot > 0 ? name.slice(0, dot) : name}.${expandedEndings[expanded]}`, isMoved: false };
  }
  const stays =
    !input.startsWith('/') && !input.split('/').some((part) => part === '..' || part === '.' || part === '');
  return stays ? { path: input, isMoved: false } : { path: `drover-entry/${name}`, isMoved: true };
}
