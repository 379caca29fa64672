import { describe, expect, test } from 'vitest';
import { checkRequirements, requirementsKey } from './requirements.ts';

describe('requirementsKey', () => {
  test('is equal for equal requirements, however they are written', () => {
    expect(
      requirementsKey({ pool: 'Build', condition: 'ram >= 1gb && OS == Linux', resources: { Cores: 2, ramMb: 1 } }),
    ).toBe(
      requirementsKey({
        pool: 'build',
        condition: '(os=="linux")&&!!(ram>=1024mb)',
        resources: { rammb: 1, cores: 2, licence: 0 },
        exclusive: false,
      }),
    );
  });

  test('tells apart what is different', () => {
    const keys = [
      {},
      { pool: 'a' },
      { condition: 'a' },
      { condition: 'x == 8' },
      { condition: 'x == "8"' },
      { condition: 'x ~= "\\\\d"' },
      { condition: 'x ~= "\\\\D"' },
      { resources: { a: 1 } },
      { resources: { a: 2 } },
      { exclusive: true },
    ].map(requirementsKey);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test('stays fast for the deepest condition', () => {
    expect(requirementsKey({ condition: `${'!'.repeat(31)}a` })).toBe(requirementsKey({ condition: '!a' }));
  });
});

describe('checkRequirements', () => {
  test.each([
    [{ pool: ' ' }, 'at pool'],
    [{ resources: { cores: -1 } }, 'at resources.cores'],
    [{ resources: { cores: 0.5 } }, 'a whole number'],
    [{ resources: { cores: Number.NaN } }, 'a whole number'],
    [{ resources: { '': 1 } }, '1 to 64'],
    [{ resources: { cores: 1, Cores: 2 } }, 'twice'],
    [{ resources: Object.fromEntries(Array.from({ length: 33 }, (_, index) => [`r${index}`, 1])) }, 'at most 32'],
  ])('refuses %j', (requirements, part) => {
    expect(() => checkRequirements(requirements)).toThrow(
      expect.objectContaining({ code: 'REQUIREMENTS_INVALID', message: expect.stringContaining(part) }),
    );
  });

  test('refuses a condition that does not parse', () => {
    expect(() => checkRequirements({ condition: 'os ==' })).toThrow(
      expect.objectContaining({ code: 'CONDITION_INVALID' }),
    );
  });
});
