import { expect, test } from 'vitest';
import { expandResponseFiles } from './expand-response-files.ts';

const files: Readonly<Record<string, string>> = {
  flat: '-O2\n-DX="a b" \'-DY=c d\'\t-DZ=e\\ f "" \\"q\\"',
  outer: '-c @flat -g',
  self: '-c @self',
  open: '-DA "never closed',
  wide: '-c '.repeat(100),
};
const expand = (...line: string[]) =>
  expandResponseFiles(line, { argumentsMax: 90 }, { readFile: (path) => Promise.resolve(files[path]) });

test('is quoted as GCC reads it', async () => {
  expect(await expand('@flat')).toEqual(['-O2', '-DX=a b', '-DY=c d', '-DZ=e f', '', '"q"']);
  expect(await expand('@open')).toEqual(['-DA', 'never closed']);
});

test('is replaced where it stands, and those in it too', async () => {
  expect(await expand('first', '@outer', 'last')).toEqual([
    'first',
    '-c',
    '-O2',
    '-DX=a b',
    '-DY=c d',
    '-DZ=e f',
    '',
    '"q"',
    '-g',
    'last',
  ]);
});

test('stands as it is when there is no such file', async () => {
  expect(await expand('@missing', '@')).toEqual(['@missing', '@']);
});

test.each(['@self', '@wide'])('has bounds: %s', async (word) => {
  await expect(expand(word)).rejects.toMatchObject({ code: 'RESPONSE_FILES_TOO_MANY', advice: 'fix-input' });
});
