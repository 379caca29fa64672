import fc from 'fast-check';
import { expect, test } from 'vitest';
import { argumentText } from './argument-text.ts';

/** How a POSIX shell splits words, as far as it concerns quotes and backslashes. */
function posixWords(text: string): string[] {
  return words(text, (quote, next) => (quote === '' ? next : undefined));
}

/** How Mono on Unix does: a backslash is an escape within single quotes as well. */
function monoWords(text: string): string[] {
  return words(text, (_, next) => next);
}

/** `escaped` answers what a backslash and the character behind it stand for; undefined: the backslash for itself. */
function words(text: string, escaped: (quote: string, next: string) => string | undefined): string[] {
  const found: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at]!;
    const stands = character === '\\' ? escaped(quote, text[at + 1]!) : undefined;
    if (stands !== undefined) {
      word = (word ?? '') + stands;
      at += 1;
    } else if (character === quote) quote = '';
    else if (quote !== '') word! += character;
    else if (character === `'`) {
      quote = character;
      word ??= '';
    } else if (/\s/.test(character)) {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else word = (word ?? '') + character;
  }
  return word === undefined ? found : [...found, word];
}

test('arguments arrive as they were, by the rules of shells and by those of Mono', () => {
  const value = fc.string({ unit: fc.constantFrom('a', ' ', `'`, '\\', '$', '*', '\t', '-', '=', '`', '<') });
  fc.assert(
    fc.property(fc.array(value, { maxLength: 5 }), (values) => {
      const text = argumentText(values, false);
      expect(posixWords(text)).toEqual(values);
      expect(monoWords(text)).toEqual(values);
    }),
    { numRuns: 2000 },
  );
});

test('plain arguments look as people write them', () => {
  expect(argumentText(['../experiments/a.simion.exp', '-pipe=unit_1', 'x:y,z@{1}'], false)).toBe(
    '../experiments/a.simion.exp -pipe=unit_1 x:y,z@{1}',
  );
});
