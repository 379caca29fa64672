import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { expect, test } from 'vitest';
import { defineLeaseType } from './lease-type.ts';

const messages = { payload: StringValueSchema, output: StringValueSchema };

test('a lease type has rules where none are given', () => {
  expect(defineLeaseType({ name: 'render-frame', ...messages })).toMatchObject({
    retry: { attemptsMax: 2, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 1_000 },
    runLimitMs: 86_400_000,
    cancelGraceMs: 10_000,
    cutOff: 'go-on',
  });
});

test('a rule that is given replaces one, not all', () => {
  const type = defineLeaseType({ name: 'x', ...messages, retry: { attemptsMax: 5 } });
  expect(type.retry).toEqual({ attemptsMax: 5, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 1_000 });
});

test.each(['', 'Render', '1x', 'a b', 'a'.repeat(65)])('the name %j is refused with what is allowed', (name) => {
  expect(() => defineLeaseType({ name, ...messages })).toThrow(/allowed are lower-case letters, digits and dashes/);
});
