import { isDroverError } from '@drover/lease-kit';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolveCheckout } from './resolve-checkout.ts';

const run = promisify(execFile);
const { signal } = new AbortController();
let dir: string;

const git = async (...args: string[]): Promise<string> =>
  (await run('git', ['-C', dir, '-c', 'user.name=T', '-c', 'user.email=t@example.invalid', ...args])).stdout.trim();

beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'resolve-checkout-')));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('finds the repository of a folder deep in it and the commit of a name', async () => {
  await git('init', '-q');
  await mkdir(join(dir, 'a/b'), { recursive: true });
  await writeFile(join(dir, 'a/b/file'), 'x');
  await git('add', '.');
  await git('commit', '-qm', 'one');
  const revision = await git('rev-parse', 'HEAD');
  const found = { topFolder: dir, revision };
  expect(await resolveCheckout({ folder: join(dir, 'a/b'), revision: 'HEAD' }, signal)).toEqual(found);
  expect(await resolveCheckout({ folder: dir, revision: revision.slice(0, 8) }, signal)).toEqual(found);
  await expect(resolveCheckout({ folder: dir, revision: '--all' }, signal)).rejects.toSatisfy((error) =>
    isDroverError(error, 'GIT_REVISION_UNKNOWN'),
  );
});

test('answers nothing for a folder in no repository, and for one without a commit', async () => {
  expect(await resolveCheckout({ folder: dir, revision: 'HEAD' }, signal)).toBeUndefined();
  await git('init', '-q');
  expect(await resolveCheckout({ folder: dir, revision: 'HEAD' }, signal)).toBeUndefined();
});

test('says that a folder is not there', async () => {
  await expect(resolveCheckout({ folder: join(dir, 'none'), revision: 'HEAD' }, signal)).rejects.toThrow(
    /is not there/,
  );
});
