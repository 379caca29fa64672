import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { exitCodes } from './exit-codes.ts';

test('every exit code, and no other, is documented for operators', async () => {
  const text = await readFile(join(import.meta.dirname, '../../../docs/operating/README.md'), 'utf8');
  const documented = [...text.matchAll(/^\| (\d+) +\| [^|]+ \|$/gm)].map((row) => Number(row[1]));
  expect(documented).toEqual(Object.values(exitCodes));
});
