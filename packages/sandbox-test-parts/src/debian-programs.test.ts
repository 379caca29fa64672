import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { debianPackages, debianProgram } from './index.ts';

const folder = mkdtempSync(join(tmpdir(), 'drover-debian-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

test('a program that is installed is taken as it is; without apt there are no others', async () => {
  const program = join(folder, 'drover-test-program');
  writeFileSync(program, '#!/bin/sh\n');
  chmodSync(program, 0o755);
  vi.stubEnv('PATH', [join(folder, 'none'), folder].join(delimiter));
  const { signal } = new AbortController();
  expect(await debianProgram('drover-test-program', 'drover-test', signal)).toEqual({ path: program, env: {} });
  expect(await debianProgram('drover-other-program', 'drover-test', signal)).toBeUndefined();
  expect(await debianPackages(['drover-test'], 'alone', signal)).toBeUndefined();
});
