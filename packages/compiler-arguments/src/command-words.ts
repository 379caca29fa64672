import { joinedOptions, separateOptions } from './option-table.ts';

/** One argument of a compiler, with its value if it has one. */
export type CommandWord =
  | { readonly kind: 'input'; readonly text: string }
  /** Without a value. */
  | { readonly kind: 'flag'; readonly name: string }
  /** `isJoined`: both stand in one word; a name that ends in `=` always does. */
  | { readonly kind: 'option'; readonly name: string; readonly value: string; readonly isJoined: boolean }
  /** Its value is missing, at the end of the line. */
  | { readonly kind: 'unfinished'; readonly name: string };

/** Reads the arguments behind the compiler's name. {@link textOfWords} of the answer is what went in. */
export function readCommandWords(texts: readonly string[]): CommandWord[] {
  const found: CommandWord[] = [];
  for (let at = 0; at < texts.length; at++) {
    const text = texts[at]!;
    if (text === '-' || !text.startsWith('-')) {
      found.push({ kind: 'input', text });
      continue;
    }
    if (separateOptions.has(text)) {
      const value = texts[++at];
      found.push(
        value === undefined
          ? { kind: 'unfinished', name: text }
          : { kind: 'option', name: text, value, isJoined: false },
      );
      continue;
    }
    found.push(readJoined(text));
  }
  return found;
}

function readJoined(text: string): CommandWord {
  // `-fplugin-arg-name-key=value`, `-std=c11`: what stands before the sign tells the option.
  const equals = text.indexOf('=');
  const prefix = joinedOptions.find((name) => text.startsWith(name) && !isLongerName(text, name));
  if (prefix !== undefined) {
    return { kind: 'option', name: prefix, value: text.slice(prefix.length), isJoined: true };
  }
  if (equals < 0) return { kind: 'flag', name: text };
  return { kind: 'option', name: text.slice(0, equals + 1), value: text.slice(equals + 1), isJoined: true };
}

/** Flags that begin like an option of one letter, but are something else. */
const flagsOfLetters = /^-(?:undef|umbrella|undefined)$/;

function isLongerName(text: string, name: string): boolean {
  return name.length === 2 && text.length > 2 && flagsOfLetters.test(text);
}

/** The words as a command line again. */
export function textOfWords(given: readonly CommandWord[]): string[] {
  return given.flatMap((word) => {
    switch (word.kind) {
      case 'input':
        return [word.text];
      case 'flag':
      case 'unfinished':
        return [word.name];
      case 'option':
        return word.isJoined ? [word.name + word.value] : [word.name, word.value];
    }
  });
}
