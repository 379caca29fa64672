import { describe, expect, test } from 'vitest';
import { confinedPath, durationMs, durationText, sizeBytes, sizeText } from './index.ts';

describe('a path of a job', () => {
  test.each([
    ['a/b', 'a/b'],
    ['./a//b/', 'a/b'],
    ['a/../b', 'b'],
    ['.', '.'],
    ['a/..', '.'],
  ])('%j stays in its folder', (value, path) => {
    expect(confinedPath(value)).toEqual({ ok: true, path });
  });

  test.each(['', '/a', '..', 'a/../../b', 'a\0b', 'C:/a', 'a\\b'])(
    '%j is refused, and says what is allowed',
    (value) => {
      expect(confinedPath(value)).toMatchObject({
        ok: false,
        message: expect.stringMatching(/allowed are relative paths/),
      });
    },
  );

  test('a backslash and a drive are names like others where they are plain', () => {
    expect(confinedPath('C:/a\\b', true)).toEqual({ ok: true, path: 'C:/a\\b' });
    expect(confinedPath('../a', true)).toMatchObject({ ok: false });
  });
});

test('durations and sizes are numbers with a unit', () => {
  expect(['90s', '1.5min', '2h'].map((text) => durationMs(durationText.parse(text)))).toEqual([
    90_000, 90_000, 7_200_000,
  ]);
  expect(['512mb', '1.5 kb'].map((text) => sizeBytes(sizeText.parse(text)))).toEqual([536_870_912, 1_536]);
  for (const text of ['', '5', '5 weeks', '-1s', '1e3s']) expect(durationText.safeParse(text).success).toBe(false);
});
