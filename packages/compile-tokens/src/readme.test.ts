import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('the sample of the README runs as it stands', () => {
  const packageDir = new URL('..', import.meta.url);
  const readme = readFileSync(new URL('README.md', packageDir), 'utf8');
  const sample = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const args = ['--conditions=@drover/source', '--no-warnings', '--input-type=module-typescript', '-e', sample];
  expect(execFileSync(process.execPath, args, { cwd: packageDir, encoding: 'utf8' })).toBe('studio\n');
});
