import fc from 'fast-check';
import { expect, test } from 'vitest';
import { freshSchema } from '../fresh-schema.test.fixture.ts';
import { plainArray, textArray } from './sql-array.ts';
import { valueParsers } from './value-parsers.ts';

const texts = fc.array(
  fc.oneof(
    fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0') && text.isWellFormed()),
    fc.constantFrom('', 'NULL', '{}', '","', '\\', '"', ' ', '\n'),
  ),
);

test('arrays of texts cross to Postgres and back as they are', async () => {
  await using fresh = await freshSchema();
  await fc.assert(
    fc.asyncProperty(texts, async (items) => {
      const { rows } = await fresh.pool.query({
        text: 'select $1::text[] as items, $2::text[] as own',
        values: [textArray(items), items],
        types: valueParsers as never,
      });
      expect(rows).toEqual([{ items, own: items }]);
    }),
  );
});

test('arrays of numbers, UUIDs and booleans keep their nulls', async () => {
  await using fresh = await freshSchema();
  const { rows } = await fresh.pool.query('select $1::bigint[] as n, $2::boolean[] as b, $3::uuid[] as u', [
    plainArray([1, null, -3]),
    plainArray([true, undefined, false]),
    plainArray(['00000000-0000-0000-0000-000000000001', null]),
  ]);
  expect(rows).toEqual([
    { n: ['1', null, '-3'], b: [true, null, false], u: ['00000000-0000-0000-0000-000000000001', null] },
  ]);
});
