import { expect, test } from 'vitest';
import { logConfig, logOptions } from './log-config.ts';

test('absent means info, for people on a terminal, in no file', () => {
  expect(logOptions(logConfig().parse(undefined))).toEqual({ level: 'info', format: 'auto' });
});

test('a file is kept a day and two weeks, unless it says otherwise', () => {
  expect(logOptions(logConfig().parse({ file: 'a.log', file_size_max: '1mb' })).file).toEqual({
    path: 'a.log',
    sizeBytesMax: 2 ** 20,
    ageMsMax: 86_400_000,
    countMax: 14,
  });
});

test.each([
  { level: 'trace' },
  { format: 'xml' },
  { colour: true },
  { file: '' },
  { file_size_max: '1b' },
  { file_age_max: '1s' },
  { files_max: 0 },
])('%j is refused', (section) => {
  expect(logConfig().safeParse(section).success).toBe(false);
});
