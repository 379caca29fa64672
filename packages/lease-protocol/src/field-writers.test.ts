import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const folder = join(import.meta.dirname, '../../../proto/drover/lease/v1');
const field = /^\s*(?:repeated |map<[^>]*> ?)?[\w.]*\s*\w+ = \d+;/;
const writer =
  /(?:Written by the (?:agent|server|sender of the enclosing message)\.|[Aa]s the server (?:wrote|named|gave) it\.?|The attempt whose log it is\.|The log is kept up to here)/;

/** Every field with the comment above it. */
async function fields(): Promise<{ readonly place: string; readonly comment: string }[]> {
  const found: { place: string; comment: string }[] = [];
  for (const name of await readdir(folder)) {
    const lines = (await readFile(join(folder, name), 'utf8')).split('\n');
    let isEnum = false;
    for (const [index, line] of lines.entries()) {
      if (/^enum /.test(line)) isEnum = true;
      if (line === '}') isEnum = false;
      if (isEnum || !field.test(line)) continue;
      let start = index;
      while (/^\s*\/\//.test(lines[start - 1] ?? '')) start -= 1;
      found.push({ place: `${name}:${index + 1} ${line.trim()}`, comment: lines.slice(start, index).join(' ') });
    }
  }
  return found;
}

test('the comment of every field names its only writer', async () => {
  const all = await fields();
  expect(all.length).toBeGreaterThan(50);
  expect(all.filter(({ comment }) => !writer.test(comment)).map(({ place }) => place)).toEqual([]);
});
