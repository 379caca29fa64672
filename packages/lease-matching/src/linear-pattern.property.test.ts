import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linearPattern } from './linear-pattern.ts';

const atoms = fc.constantFrom(
  'a',
  'B',
  '.',
  '[ab]',
  '[^a]',
  '[a-c_]',
  '\\d',
  '\\W',
  '\\s',
  '\\.',
  '(a|b)',
  '(?:ab|)',
  'é',
);
const quantifiers = fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,}', '{0,2}');

const patterns = fc
  .tuple(
    fc.constantFrom('', '^'),
    fc.array(fc.tuple(atoms, quantifiers, fc.constantFrom('', '', '|')), { minLength: 1, maxLength: 6 }),
    fc.constantFrom('', '$'),
  )
  .map(([start, parts, end]) => start + parts.map((part) => part.join('')).join('') + end);

const nested = fc
  .tuple(patterns, quantifiers, patterns)
  .map(([inner, quantifier, rest]) => `(${inner.replace(/[\^$]/g, '')})${quantifier}${rest.replace(/\^/g, '')}`);

test('finds what the regular expressions of the language find', () => {
  fc.assert(
    fc.property(
      fc.oneof(patterns, nested),
      fc.string({ unit: fc.constantFrom('a', 'A', 'b', 'c', '1', '_', '.', ' ', '\n', 'é', '😀'), maxLength: 12 }),
      (pattern, text) => {
        expect(linearPattern(pattern).matches(text)).toBe(new RegExp(pattern, 'isu').test(text));
      },
    ),
    { numRuns: 3000 },
  );
});
