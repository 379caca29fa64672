import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockFileHolder, tryLockFile } from './lock-file.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-lock-'));
  path = join(dir, 'lock');
});
afterEach(() => rmSync(dir, { recursive: true }));

test('one holder at a time, and none after release', () => {
  const lock = tryLockFile(path);
  expect(tryLockFile(path)).toBeUndefined();
  expect(lockFileHolder(path)).toBe(process.pid);
  lock?.release();
  lock?.release();
  expect(readdirSync(dir)).toEqual([]);
  const again = tryLockFile(path);
  lock?.release();
  expect(again).toBeDefined();
  expect(lockFileHolder(path)).toBe(process.pid);
});

test('a process that was killed loses it', async () => {
  const module = JSON.stringify(new URL('./lock-file.ts', import.meta.url).href);
  const source = `import { tryLockFile } from ${module}; tryLockFile(${JSON.stringify(path)}); console.log('locked'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    await once(child.stdout, 'data');
    expect(lockFileHolder(path)).toBe(child.pid);
    expect(tryLockFile(path)).toBeUndefined();
  } finally {
    child.kill('SIGKILL');
  }
  await once(child, 'exit');
  expect(tryLockFile(path)).toBeDefined();
  expect(readdirSync(dir)).toEqual(['lock']);
});
