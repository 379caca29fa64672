import { expect, test } from 'vitest';
import { durationOption } from './command-context.ts';

test('a duration of an option is read as in a configuration file, and says what is allowed', () => {
  const within = durationOption('--within', 1_000);
  expect([within('1500ms'), within('90s'), within('1.5h')]).toEqual([1_500, 90_000, 5_400_000]);
  expect(() => within('1ms')).toThrow('--within is "1ms"; it is out of range; allowed is at least 1s');
  expect(() => within('soon')).toThrow(
    '--within is "soon"; it is no duration; allowed is a number with ms, s, min, h, d',
  );
});
