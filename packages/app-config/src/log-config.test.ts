import { expect, test } from 'vitest';
import { logConfig } from './log-config.ts';

test('absent means info, for people on a terminal', () => {
  expect(logConfig().parse(undefined)).toEqual({ level: 'info', format: 'auto' });
});

test.each([{ level: 'trace' }, { format: 'xml' }, { colour: true }])('%j is refused', (section) => {
  expect(logConfig().safeParse(section).success).toBe(false);
});
