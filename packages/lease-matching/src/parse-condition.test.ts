import { describe, expect, test } from 'vitest';
import { conditionDepthMax, conditionLengthMax } from './condition.ts';
import { parseCondition } from './parse-condition.ts';
import { printCondition } from './print-condition.ts';

function messageFor(text: string): string {
  try {
    parseCondition(text);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`"${text}" was accepted`);
}

describe('parseCondition', () => {
  test('binds "!" closest, then "&&", then "||"', () => {
    expect(parseCondition('a || !b && c == 1')).toEqual({
      kind: 'or',
      terms: [
        { kind: 'present', key: 'a' },
        {
          kind: 'and',
          terms: [
            { kind: 'not', term: { kind: 'present', key: 'b' } },
            { kind: 'compare', key: 'c', operator: '==', value: { kind: 'number', number: 1, text: '1' } },
          ],
        },
      ],
    });
  });

  test('reads numbers with binary multiples, words and quoted strings', () => {
    expect(printCondition(parseCondition(`RAM>=4GB && (os=='Windows 11' || os~="^ubuntu-\\d+")`))).toBe(
      `ram >= 4gb && (os == "Windows 11" || os ~= "^ubuntu-\\\\d+")`,
    );
    expect(parseCondition('ram >= 1.5kb')).toMatchObject({ value: { number: 1536 } });
    expect(parseCondition('version >= 1.10.2')).toMatchObject({ value: { kind: 'text' } });
    expect(parseCondition('version >= "1.10"')).toMatchObject({ value: { kind: 'text' } });
  });

  test('shows where an error is and what is allowed there', () => {
    expect(messageFor('os == linux && ram >= )')).toBe(
      'Condition invalid at column 23: unexpected ")"; ' +
        'allowed here: a word, a number (such as 8 or 4gb), or a string in quotes.\n' +
        '  os == linux && ram >= )\n' +
        '                        ^',
    );
  });

  test.each([
    ['', 0, 'ends here'],
    ['   ', 3, 'ends here'],
    ['os = linux', 3, 'did you mean "=="'],
    ['a & b', 2, 'did you mean "&&"'],
    ['a b', 2, 'unexpected "b"'],
    ['(a', 2, '")", "&&" or "||"'],
    ['a)', 1, 'unexpected ")"'],
    ['os == "linux', 6, 'has no end'],
    ['8 == os', 0, 'does not start with a letter'],
    ['"" == a', 0, '1 to 128 characters'],
    ['os == a == b', 8, '"&&", "||" or the end'],
    ['os ~= "(a"', 6, 'no end'],
    ['os == ${x}', 6, 'unexpected "$"'],
  ])('refuses %j at offset %i: %s', (text, position, part) => {
    expect(() => parseCondition(text)).toThrow(
      expect.objectContaining({
        code: 'CONDITION_INVALID',
        advice: 'fix-input',
        details: expect.objectContaining({ position }),
        message: expect.stringContaining(part),
      }),
    );
  });

  test('bounds length and depth', () => {
    expect(() => parseCondition('a'.repeat(conditionLengthMax + 1))).toThrow(/characters/);
    const nested = (depth: number) => '('.repeat(depth) + 'a' + ')'.repeat(depth);
    expect(parseCondition(nested(conditionDepthMax))).toEqual({ kind: 'present', key: 'a' });
    expect(() => parseCondition(nested(conditionDepthMax + 1))).toThrow(/too deep/);
    expect(() => parseCondition(`${'!'.repeat(conditionLengthMax - 1)}a`)).toThrow(/too deep/);
  });

  test('keeps the excerpt of a long condition short, on one line, with the caret below the error', () => {
    const [, excerpt = '', caret = ''] = messageFor(`${'a &&\n'.repeat(200)}) ${'b '.repeat(100)}`).split('\n');
    expect(excerpt.length).toBeLessThan(80);
    expect(excerpt.charAt(caret.indexOf('^'))).toBe(')');
  });
});
