import type { CommandWord } from './command-words.ts';

/**
 * A path as the compiler notes it in debug information: of `-fdebug-prefix-map=` and `-ffile-prefix-map=` the last one
 * that fits is applied, once, and by characters rather than by names.
 */
export function mappedPath(path: string, words: readonly CommandWord[]): string {
  for (const word of words.toReversed()) {
    if (word.kind !== 'option' || !/^-f(debug|file)-prefix-map=$/.test(word.name)) continue;
    // GCC splits at the last sign, so that the old prefix may hold one.
    const equals = word.value.lastIndexOf('=');
    const from = word.value.slice(0, equals);
    if (equals >= 0 && path.startsWith(from)) return word.value.slice(equals + 1) + path.slice(from.length);
  }
  return path;
}
