import type { WorkspaceSyncRequest } from '@drover/workspaces';
import { workspaceSyncCompliance } from '@drover/workspaces/testing';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startGitHttpServer } from './git-http-server.test.fixture.ts';
import { createGitWorkspaceSync } from './git-workspace-sync.ts';

const never = new AbortController().signal;
const identity = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' };

function git(dir: string, ...args: string[]): string {
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: dir,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_ALLOW_PROTOCOL: 'file',
    ...identity,
  };
  return execFileSync('git', ['-C', dir, ...args], { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

function commit(dir: string, files: Readonly<Record<string, string>>): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  git(dir, 'add', '--all');
  git(dir, 'commit', '--quiet', '--allow-empty', '--message', 'a change');
  return git(dir, 'rev-parse', 'HEAD');
}

function newRepository(dir: string): string {
  mkdirSync(dir, { recursive: true });
  git(dir, 'init', '--quiet', '--initial-branch=main');
  return dir;
}

workspaceSyncCompliance({
  describe,
  test,
  expect,
  async make() {
    const dir = mkdtempSync(join(tmpdir(), 'drover-sync-test-'));
    const source = newRepository(join(dir, 'source'));
    return {
      provider: createGitWorkspaceSync(),
      source: pathToFileURL(source).href,
      revision: 'main',
      ownFolders: ['.git'],
      unknownRevision: 'no-such-branch',
      missingSource: pathToFileURL(join(dir, 'missing')).href,
      publish: async (files) => {
        for (const name of readdirSync(source)) if (name !== '.git') rmSync(join(source, name), { recursive: true });
        commit(source, files);
      },
      dispose: async () => rmSync(dir, { recursive: true }),
    };
  },
});

let dir: string;
let source: string;
const provider = createGitWorkspaceSync({ transports: ['http', 'file'] });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-sync-test-'));
  source = newRepository(join(dir, 'source'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const requestOf = (more: Partial<WorkspaceSyncRequest> = {}): WorkspaceSyncRequest => ({
  source,
  root: join(dir, 'root'),
  folder: 'main',
  ...more,
});
const sync = (more?: Partial<WorkspaceSyncRequest>) => provider.sync(requestOf(more), { signal: never });
const at = (...names: string[]) => join(dir, 'root', 'main', ...names);
const read = (...names: string[]) => readFileSync(at(...names), 'utf8');
/** A workspace that is exactly what the source has. */
const isWhole = () =>
  git(at(), 'status', '--porcelain', '--ignored') === '' && git(at(), 'fsck', '--no-dangling') === '';

test('agents of one machine do not disturb each other: workspaces of one name below different roots', async () => {
  commit(source, { file: '1' });
  const roots = ['one', 'other'].map((name) => join(dir, name));
  // Again and again, so that one starts, and ends what was left of it, in the midst of the other.
  const synced = await Promise.allSettled(
    roots.map(async (root) => {
      for (let n = 0; n < 5; n += 1) await sync({ root });
    }),
  );
  expect(synced).toEqual(roots.map(() => ({ status: 'fulfilled', value: undefined })));
});

describe('what the source does', () => {
  test('a branch that moves, is rewritten, and is deleted', async () => {
    const first = commit(source, { file: '1' });
    git(source, 'branch', 'work');
    expect(await sync({ revision: 'work' })).toMatchObject({ to: first, filesAdded: 1, repaired: false });
    git(source, 'checkout', '--quiet', 'work');
    const second = commit(source, { file: '2', more: '2' });
    expect(await sync({ revision: 'work' })).toMatchObject({ from: first, to: second, filesChanged: 1, filesAdded: 1 });
    git(source, 'reset', '--quiet', '--hard', first);
    const rewritten = commit(source, { file: '3' });
    expect(await sync({ revision: 'work' })).toMatchObject({ from: second, to: rewritten, filesRemoved: 1 });
    expect(read('file')).toBe('3');
    git(source, 'checkout', '--quiet', 'main');
    git(source, 'branch', '-D', 'work');
    await expect(sync({ revision: 'work' })).rejects.toMatchObject({ code: 'GIT_REVISION_UNKNOWN' });
    expect(read('file')).toBe('3');
    expect(await sync({ revision: 'main' })).toMatchObject({ from: rewritten, to: first });
    expect(isWhole()).toBe(true);
  });

  test('another repository in its place, with nothing in common', async () => {
    commit(source, { file: '1' });
    await sync();
    const other = newRepository(join(dir, 'other'));
    const head = commit(other, { another: '2' });
    expect(await sync({ source: other })).toMatchObject({ to: head, filesAdded: 1, filesRemoved: 1 });
    expect(readdirSync(at()).sort()).toEqual(['.git', 'another']);
  });

  test('a depth, a commit, and all of the history afterwards', async () => {
    const url = pathToFileURL(source).href;
    const first = commit(source, { file: '1' });
    const second = commit(source, { file: '2' });
    await sync({ source: url, depth: 1 });
    expect(git(at(), 'rev-list', '--count', 'HEAD')).toBe('1');
    await sync({ source: url });
    expect(git(at(), 'rev-list', '--count', 'HEAD')).toBe('2');
    expect(await sync({ source: url, revision: first })).toMatchObject({ from: second, to: first });
  });

  test('some files alone, and all of them again', async () => {
    commit(source, { 'a/file': '1', 'b/file': '1', top: '1' });
    await sync({ sparse: ['/a/'] });
    expect([existsSync(at('a', 'file')), existsSync(at('b')), existsSync(at('top'))]).toEqual([true, false, false]);
    expect((await sync({ sparse: ['/a/'], remove: 'untracked-and-ignored' })).filesRestored).toBe(0);
    await sync();
    expect([existsSync(at('a', 'file')), existsSync(at('b', 'file')), existsSync(at('top'))]).toEqual([
      true,
      true,
      true,
    ]);
  });

  test('submodules that are added, move, change their source, become a folder and go', async () => {
    const lib = newRepository(join(dir, 'lib'));
    commit(lib, { 'lib.c': '1' });
    const other = newRepository(join(dir, 'other'));
    commit(other, { 'other.c': '1' });
    commit(source, { file: '1' });
    git(source, 'submodule', '--quiet', 'add', '--name', 'lib', lib, 'lib');
    commit(source, {});
    const remove = 'untracked' as const;
    await sync({ submodules: true, remove });
    expect(read('lib', 'lib.c')).toBe('1');
    // Changed and littered here, moved there.
    writeFileSync(at('lib', 'lib.c'), 'dirty');
    writeFileSync(at('lib', 'litter'), 'mine');
    git(source, 'mv', 'lib', 'moved');
    commit(source, {});
    await sync({ submodules: true, remove });
    expect([existsSync(at('lib')), read('moved', 'lib.c')]).toEqual([false, '1']);
    writeFileSync(at('moved', 'litter'), 'mine');
    git(source, 'config', '--file', '.gitmodules', 'submodule.lib.url', other);
    git(join(source, 'moved'), 'fetch', '--quiet', other, 'main');
    git(join(source, 'moved'), 'checkout', '--quiet', '--force', 'FETCH_HEAD');
    commit(source, {});
    expect((await sync({ submodules: true, remove })).untrackedRemoved).toBe(1);
    expect(readdirSync(at('moved')).sort()).toEqual(['.git', 'other.c']);
    git(source, 'rm', '--quiet', '--force', 'moved');
    commit(source, { 'moved/file': 'a folder now' });
    await sync({ submodules: true, remove });
    expect([readdirSync(at('moved')), isWhole()]).toEqual([['file'], true]);
  });
});

describe('over http', () => {
  test('follows a repository, backs off from a broken one, and is whole when it is back', async () => {
    const first = commit(source, { file: '1' });
    await using server = await startGitHttpServer(dir);
    const request = { source: `${server.url}/source` };
    expect(await sync(request)).toMatchObject({ to: first });
    server.failWith(503);
    await expect(sync(request)).rejects.toMatchObject({ code: 'GIT_REPOSITORY_UNREACHABLE', advice: 'unavailable' });
    server.failWith(401);
    await expect(sync(request)).rejects.toMatchObject({ code: 'GIT_ACCESS_DENIED' });
    server.failWith(404);
    await expect(sync(request)).rejects.toMatchObject({ code: 'GIT_REPOSITORY_NOT_FOUND' });
    server.failWith(undefined);
    const second = commit(source, { file: '2' });
    expect(await sync(request)).toMatchObject({ from: first, to: second });
  });

  test('what a repository names never reaches files of this machine', async () => {
    const secret = newRepository(join(dir, 'secret'));
    commit(secret, { secret: 'x' });
    git(source, 'submodule', '--quiet', 'add', '--name', 'lib', secret, 'lib');
    commit(source, {});
    await using server = await startGitHttpServer(dir);
    await expect(sync({ source: `${server.url}/source`, submodules: true })).rejects.toMatchObject({
      message: expect.stringContaining("transport 'file' not allowed") as string,
    });
    expect(existsSync(at('lib', 'secret'))).toBe(false);
  });

  test('killed in the midst of a fetch: nothing of it goes on, and the next sync is whole', async () => {
    const files = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`f${index}`, `${Math.random()}`.repeat(2_000)]),
    );
    const head = commit(source, files);
    await using server = await startGitHttpServer(dir);
    server.stallAfter(2_000);
    const request = requestOf({ source: `${server.url}/source` });
    const child = startSync(request);
    await server.stalled();
    child.kill('SIGKILL');
    await once(child, 'exit');
    server.stallAfter(undefined);
    writeFileSync(at('.git', 'index.lock'), '');
    writeFileSync(at('.git', 'shallow.lock'), '');
    expect(await provider.sync(request, { signal: never })).toMatchObject({ to: head, repaired: true });
    expect(isWhole()).toBe(true);
    expect(readdirSync(at('.git', 'objects', 'pack')).filter((name) => name.startsWith('tmp_'))).toEqual([]);
  });
});

describe('what was done here', () => {
  test('killed at every step, with kill -9, then synced: the workspace is whole', { timeout: 60_000 }, async () => {
    const files = (mark: string) =>
      Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`d${index % 20}/f${index}`, `${mark} ${index}`]));
    commit(source, files('first'));
    await sync();
    for (const percent of [2, 60, 64, 94]) {
      const head = commit(source, files(`at ${percent}`));
      const child = startSync(requestOf());
      let text = '';
      child.stdout.on('data', (bytes: Buffer) => {
        text += bytes.toString();
        if (text.split('\n').includes(String(percent))) child.kill('SIGKILL');
      });
      await once(child, 'close');
      expect(child.signalCode).toBe('SIGKILL');
      expect(await sync()).toMatchObject({ to: head });
      expect([percent, isWhole()]).toEqual([percent, true]);
    }
  });

  test('a merge that was begun, a branch that was checked out, settings and hooks that run programs', async () => {
    const head = commit(source, { file: '1' });
    await sync();
    git(at(), 'checkout', '--quiet', '-b', 'mine');
    commit(at(), { file: 'mine' });
    git(at(), 'checkout', '--quiet', head);
    commit(at(), { file: 'other' });
    writeFileSync(at('staged'), 'mine');
    git(at(), 'add', 'staged');
    expect(() => git(at(), 'merge', 'mine')).toThrow();
    const witness = join(dir, 'witness');
    writeFileSync(at('.git', 'config'), `[core]\n\tfsmonitor = touch ${witness}\n\thooksPath = .git/hooks\n`);
    writeFileSync(at('.git', 'hooks', 'post-checkout'), `#!/bin/sh\ntouch ${witness}\n`, { mode: 0o755 });
    writeFileSync(at('.git', 'info', 'attributes'), '* filter=mine\n');
    await sync();
    expect([read('file'), existsSync(witness), existsSync(at('.git', 'MERGE_HEAD'))]).toEqual(['1', false, false]);
    expect(existsSync(at('staged'))).toBe(false);
    expect(isWhole()).toBe(true);
  });

  test.each<[string, () => void]>([
    ['an index that is damaged', () => writeFileSync(at('.git', 'index'), 'nonsense')],
    ['a HEAD that leads nowhere', () => writeFileSync(at('.git', 'HEAD'), 'nonsense')],
    ['objects that are gone', () => rmSync(at('.git', 'objects'), { recursive: true })],
    ['a repository that is gone', () => rmSync(at('.git'), { recursive: true })],
    [
      'a repository that is a link elsewhere',
      () => {
        rmSync(at('.git'), { recursive: true });
        symlinkSync(join(source, '.git'), at('.git'));
      },
    ],
  ])('%s is made anew; what is not tracked stays', async (_, damage) => {
    const head = commit(source, { file: '1', another: '1' });
    await sync();
    writeFileSync(at('mine'), 'mine');
    writeFileSync(at('file'), 'dirty');
    damage();
    expect(await sync()).toMatchObject({ to: head });
    expect([read('file'), read('mine'), git(source, 'status', '--porcelain')]).toEqual(['1', 'mine', '']);
  });

  test('two at once in one folder: one of them is told', async () => {
    const head = commit(source, { file: '1' });
    const both = await Promise.allSettled([sync(), sync()]);
    const busy = { status: 'rejected', reason: { code: 'WORKSPACE_BUSY', advice: 'unavailable' } };
    expect(both.sort((a, b) => a.status.localeCompare(b.status))).toMatchObject([{ value: { to: head } }, busy]);
  });
});

describe('hostile requests', () => {
  test.each([
    '--upload-pack=touch /tmp/x',
    'ext::sh -c touch% /tmp/x',
    'fd::7',
    'http://-oProxyCommand=x/y',
    'ssh://-oProxyCommand=x/y',
    'user@-x:y',
    'http://127.0.0.1/a\nb',
    'http://127.0.0.1/\u0000',
    '',
  ])('the source %j', async (hostile) => {
    await expect(sync({ source: hostile })).rejects.toMatchObject({ code: 'GIT_SOURCE_INVALID', advice: 'fix-input' });
    expect(existsSync(join(dir, 'root'))).toBe(false);
  });

  test('a transport that is not allowed', async () => {
    await expect(sync({ source: 'ssh://127.0.0.1/x' })).rejects.toMatchObject({ code: 'GIT_TRANSPORT_DENIED' });
  });

  test.each(['--upload-pack=x', '-x', 'a..b', 'HEAD~1', 'a\nb', 'refs/heads/*'])(
    'the revision %j',
    async (revision) => {
      await expect(sync({ revision })).rejects.toMatchObject({ code: 'GIT_REVISION_INVALID', advice: 'fix-input' });
    },
  );

  test.each<Partial<WorkspaceSyncRequest>>([{ sparse: ['a\nb'] }, { sparse: [''] }, { depth: 0 }, { depth: 1.5 }])(
    '%j',
    async (more) => {
      await expect(sync(more)).rejects.toMatchObject({ code: 'GIT_REQUEST_INVALID', advice: 'fix-input' });
    },
  );
});

function startSync(request: WorkspaceSyncRequest) {
  const script = new URL('workspace-sync.test.fixture.ts', import.meta.url).pathname;
  return spawn(process.execPath, ['--conditions=@drover/source', script, JSON.stringify(request)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}
