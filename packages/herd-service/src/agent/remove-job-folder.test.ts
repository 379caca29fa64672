import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeJobFolder } from './remove-job-folder.ts';

const nobody = 65_534;
const isRoot = process.getuid?.() === 0;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'herd-remove-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test.skipIf(process.platform === 'win32')(
  'a folder goes whose tasks took the right to write from it, and what its links lead to stays as it is',
  async () => {
    const [job, outside] = [join(dir, 'job'), join(dir, 'outside')];
    for (const folder of [job, join(job, 'cache'), join(job, 'closed'), outside]) mkdirSync(folder);
    for (const file of [join(job, 'cache', 'module'), join(job, 'closed', 'file'), join(outside, 'kept')]) {
      writeFileSync(file, '');
    }
    symlinkSync(outside, join(job, 'link'));
    chmodSync(outside, 0o555);
    chmodSync(join(job, 'cache'), 0o555);
    chmodSync(join(job, 'closed'), 0);
    // Root may write everywhere.
    if (isRoot) for (const one of [dir, job, join(job, 'cache'), join(job, 'closed')]) chownSync(one, nobody, nobody);
    if (isRoot) process.seteuid!(nobody);
    try {
      await removeJobFolder(job);
      await removeJobFolder(job);
    } finally {
      if (isRoot) process.seteuid!(0);
    }
    expect([existsSync(job), existsSync(join(outside, 'kept'))]).toEqual([false, true]);
    chmodSync(outside, 0o755);
  },
);
