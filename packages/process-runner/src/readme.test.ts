import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('the sample of the README runs as it stands', () => {
  const packageDir = new URL('..', import.meta.url);
  const readme = readFileSync(new URL('README.md', packageDir), 'utf8');
  const sample = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const args = ['--conditions=@drover/source', '--input-type=module-typescript', '-e', sample];
  const dir = mkdtempSync(join(tmpdir(), 'drover-readme-'));
  try {
    const options = { cwd: packageDir, encoding: 'utf8', env: { ...process.env, TMPDIR: dir } } as const;
    expect(execFileSync(process.execPath, args, options)).toBe('0 building\n\nexit code 3\n');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
