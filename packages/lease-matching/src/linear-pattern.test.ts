import { describe, expect, test } from 'vitest';
import { linearPattern, patternLengthMax } from './linear-pattern.ts';
import { propertyValueLengthMax } from './properties.ts';

const matches = (pattern: string, text: string) => linearPattern(pattern).matches(text);

describe('linearPattern', () => {
  test('finds a pattern anywhere unless it is anchored', () => {
    expect(matches('buntu', 'Ubuntu 24.04')).toBe(true);
    expect(matches('^buntu', 'Ubuntu 24.04')).toBe(false);
    expect(matches('^ubuntu \\d{2}\\.\\d{2}$', 'Ubuntu 24.04')).toBe(true);
    expect(matches('', '')).toBe(true);
  });

  test.each(['(a+)+$', '^(a|a)*$', '^(a|aa)+$', '(.*)*b', '(x+x+)+y'])(
    'answers within its bound of steps where backtracking would take for ever: %s',
    (pattern) => {
      expect(matches(pattern, `${'a'.repeat(propertyValueLengthMax - 1)}!`)).toBe(false);
    },
  );

  test.each([
    ['(?=a)', 'look-around'],
    ['(a)\\1', 'escape "\\1"'],
    ['a**', 'two quantifiers'],
    ['a*?', 'two quantifiers'],
    ['(a', 'no end'],
    ['a)', 'closes nothing'],
    ['[z-a]', 'upside down'],
    ['[]', 'empty'],
    ['a{2', 'no repetition'],
    ['a{3,2}', 'the repetition'],
    ['*a', 'nothing to repeat'],
    ['^*', 'can not be repeated'],
    ['a\\', 'backslash ends'],
    ['((((a{100}){100}){100}){100})', 'too large'],
    ['((((){100}){100}){100}){100}', 'too large'],
    ['('.repeat(17) + ')'.repeat(17), 'too deep'],
    ['a'.repeat(patternLengthMax + 1), 'characters'],
  ])('refuses %s and says why', (pattern, problem) => {
    expect(() => linearPattern(pattern)).toThrow(
      expect.objectContaining({ code: 'PATTERN_INVALID', message: expect.stringContaining(problem) }),
    );
  });
});
