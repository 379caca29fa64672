import { describe, expect, test } from 'vitest';
import { propertiesFrom, propertiesMax, propertyLines } from './properties.ts';

describe('propertiesFrom', () => {
  test('keys are without case and repeatable, values keep their case and come once', () => {
    const properties = propertiesFrom(['Tag=Fast', ' tag = quiet ', 'TAG=fast', 'expr=a=b', 'gpu']);
    expect([...properties]).toEqual([
      ['tag', ['Fast', 'quiet']],
      ['expr', ['a=b']],
      ['gpu', ['']],
    ]);
    expect(propertiesFrom(propertyLines(properties))).toEqual(properties);
  });

  test.each([
    [['=x'], 'must not be empty'],
    [[`${'k'.repeat(129)}=x`], 'at most 128'],
    [[`k=${'x'.repeat(513)}`], 'at most 512'],
    [Array.from({ length: propertiesMax + 1 }, (_, index) => `k=${index}`), 'at most 256'],
  ])('refuses what is out of bounds (%#)', (lines, part) => {
    expect(() => propertiesFrom(lines)).toThrow(
      expect.objectContaining({ code: 'PROPERTY_INVALID', message: expect.stringContaining(part) }),
    );
  });
});
