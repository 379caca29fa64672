import { isDroverError } from '@drover/lease-kit';
import type { WorkspaceProvider } from '@drover/workspaces';
import { workspaceProviderCompliance } from '@drover/workspaces/testing';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createGitWorkspaceProvider, type GitWorkspaceOptions } from './git-workspace-provider.ts';

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

function commit(dir: string, files: Record<string, string>): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  git(dir, 'add', '--all');
  git(dir, 'commit', '--quiet', '--message', 'a change');
  return git(dir, 'rev-parse', 'HEAD');
}

function newRepository(dir: string): string {
  mkdirSync(dir, { recursive: true });
  git(dir, 'init', '--quiet', '--initial-branch=main');
  return dir;
}

workspaceProviderCompliance({
  describe,
  test,
  expect,
  async make() {
    const dir = mkdtempSync(join(tmpdir(), 'drover-git-test-'));
    const source = newRepository(join(dir, 'source'));
    writeFileSync(join(source, 'run.sh'), '#!/bin/sh\n');
    chmodSync(join(source, 'run.sh'), 0o755);
    symlinkSync('deep/er/file', join(source, 'link'));
    commit(source, { 'a.txt': 'a\r\n', 'deep/er/file': 'b' });
    writeFileSync(join(source, 'a.txt'), 'dirty');
    writeFileSync(join(source, 'untracked'), 'dirty');
    return {
      provider: createGitWorkspaceProvider({ cacheDir: join(dir, 'cache') }),
      source: pathToFileURL(source).href,
      files: {
        'a.txt': { content: 'a\r\n' },
        'deep/er/file': { content: 'b' },
        'run.sh': { content: '#!/bin/sh\n', executable: true },
        link: { link: 'deep/er/file' },
      },
      unknownRevision: '0'.repeat(40),
      missingSource: pathToFileURL(join(dir, 'missing')).href,
      dispose: async () => rmSync(dir, { recursive: true }),
    };
  },
});

let dir: string;
let source: string;
let copies = 0;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-git-test-'));
  source = newRepository(join(dir, 'source'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const newProvider = (options: Partial<GitWorkspaceOptions> = {}) =>
  createGitWorkspaceProvider({ cacheDir: join(dir, 'cache'), ...options });
const bring = (provider: WorkspaceProvider, revision?: string, from = source) =>
  provider.materialize(
    { source: from, destination: join(dir, `copy-${copies++}`), ...(revision === undefined ? {} : { revision }) },
    never,
  );
const mirrors = () => readdirSync(join(dir, 'cache')).filter((name) => name.endsWith('.git'));
const leftInCache = () => readdirSync(join(dir, 'cache')).filter((name) => !name.endsWith('.git'));

describe('what a revision may be', () => {
  test('a commit, HEAD, a branch, a tag before a branch of its name, a full ref, a ref beyond branches and tags', async () => {
    const first = commit(source, { file: '1' });
    git(source, 'tag', '--annotate', '--message', 'one', 'v1');
    git(source, 'branch', 'feature/x');
    const second = commit(source, { file: '2' });
    git(source, 'branch', 'v1', second);
    const third = commit(source, { file: '3' });
    git(source, 'update-ref', 'refs/pull/7/head', third);
    git(source, 'reset', '--quiet', '--hard', second);
    const provider = newProvider();
    const expected = {
      [first]: first,
      HEAD: second,
      main: second,
      'feature/x': first,
      v1: first,
      'refs/heads/v1': second,
      'refs/tags/v1': first,
      'refs/pull/7/head': third,
      [third]: third,
    };
    for (const [revision, id] of Object.entries(expected)) {
      const copy = await bring(provider, revision);
      expect([revision, copy.revision]).toEqual([revision, id]);
      expect(git(copy.dir, 'rev-parse', 'HEAD')).toBe(id);
      expect(git(copy.dir, 'status', '--porcelain')).toBe('');
    }
    expect((await bring(provider)).revision).toBe(second);
    expect(leftInCache()).toEqual([]);
  });

  test('a name is asked for anew, a commit that the mirror has is not', async () => {
    const first = commit(source, { file: '1' });
    const provider = newProvider();
    expect((await bring(provider, 'main')).revision).toBe(first);
    const second = commit(source, { file: '2' });
    expect((await bring(provider, 'main')).revision).toBe(second);
    git(source, 'checkout', '--quiet', '-b', 'other');
    git(source, 'branch', '--quiet', '-D', 'main');
    await expect(bring(provider, 'main')).rejects.toMatchObject({ code: 'GIT_REVISION_UNKNOWN' });
    rmSync(join(source, '.git', 'refs'), { recursive: true });
    expect((await bring(provider, second)).revision).toBe(second);
  });

  test('a commit that no ref reaches', async () => {
    commit(source, { file: '1' });
    const lost = commit(source, { file: '2' });
    git(source, 'reset', '--quiet', '--hard', 'HEAD~1');
    git(source, 'config', 'uploadpack.allowAnySHA1InWant', 'true');
    const copy = await bring(newProvider(), lost);
    expect(readFileSync(join(copy.dir, 'file'), 'utf8')).toBe('2');
  });

  test.each([
    '--upload-pack=touch /tmp/x',
    '-x',
    'a..b',
    'HEAD~1',
    'main^{tree}',
    ':/text',
    'a b',
    'x@{1}',
    '',
    'a\nb',
    'refs/heads/*',
    '@',
    'x'.repeat(256),
  ])('not %j', async (revision) => {
    commit(source, { file: '1' });
    await expect(bring(newProvider(), revision)).rejects.toMatchObject({
      code: 'GIT_REVISION_INVALID',
      advice: 'fix-input',
    });
  });

  test.each(['no-such-branch', 'refs/pull/1/head', 'refs/heads/none', '1234567'])(
    'not one that is not there: %s',
    async (revision) => {
      commit(source, { file: '1' });
      await expect(bring(newProvider(), revision)).rejects.toMatchObject({
        code: 'GIT_REVISION_UNKNOWN',
        advice: 'not-found',
        details: { revision },
      });
    },
  );

  test('nothing of a repository without a commit', async () => {
    await expect(bring(newProvider())).rejects.toMatchObject({ code: 'GIT_REVISION_UNKNOWN' });
  });
});

describe('which source', () => {
  test.each([
    '-x',
    '--upload-pack=x',
    'ext::sh -c touch% /tmp/x',
    'relative/path',
    './x',
    '',
    'ftp://host/x',
    'ssh://-oProxyCommand=x/y',
    '-oProxyCommand=x:y',
    'fd::17',
    'https://',
    'a\nb:c',
    'file://host/x',
  ])('is refused: %j', async (from) => {
    await expect(bring(newProvider(), 'HEAD', from)).rejects.toMatchObject({
      code: 'GIT_SOURCE_INVALID',
      advice: 'fix-input',
    });
    expect(existsSync(join(dir, 'cache'))).toBe(false);
  });

  test('is refused for its transport', async () => {
    const denied = { code: 'GIT_TRANSPORT_DENIED', advice: 'denied' };
    await expect(bring(newProvider(), 'HEAD', 'http://127.0.0.1/x.git')).rejects.toMatchObject(denied);
    await expect(bring(newProvider({ transports: ['https'] }))).rejects.toMatchObject(denied);
  });

  test('is no repository, or one that is broken', async () => {
    const notFound = { code: 'GIT_REPOSITORY_NOT_FOUND', advice: 'not-found' };
    mkdirSync(join(dir, 'plain'));
    await expect(bring(newProvider(), 'HEAD', join(dir, 'plain'))).rejects.toMatchObject(notFound);
    await expect(bring(newProvider(), 'HEAD', join(dir, 'missing'))).rejects.toMatchObject(notFound);
    commit(source, { file: '1' });
    const objects = join(source, '.git', 'objects');
    for (const name of readdirSync(objects).filter((found) => found.length === 2))
      rmSync(join(objects, name), { recursive: true });
    const error: unknown = await bring(newProvider()).catch((thrown: unknown) => thrown);
    expect(isDroverError(error) && error.code).toMatch(/^GIT_/);
  });

  test('cannot be reached: the message holds no password', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    server.close();
    await once(server, 'close');
    const from = `http://user:hunter2@127.0.0.1:${port}/x.git`;
    const error = await bring(newProvider({ transports: ['http'] }), 'HEAD', from).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'GIT_REPOSITORY_UNREACHABLE', advice: 'unavailable' });
    expect((error as Error).message).toContain(`http://127.0.0.1:${port}/x.git`);
    expect((error as Error).message).not.toContain('hunter2');
  });

  test('does not answer: an abort and the time limit end git', async () => {
    let connected = Promise.withResolvers<void>();
    const server = createServer(() => connected.resolve()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const from = `http://127.0.0.1:${(server.address() as { port: number }).port}/x.git`;
    const sockets = new Set<{ destroy(): void }>();
    server.on('connection', (socket) => sockets.add(socket));
    try {
      const abort = new AbortController();
      const destination = join(dir, 'copy');
      const pending = newProvider({ transports: ['http'] }).materialize({ source: from, destination }, abort.signal);
      await connected.promise;
      abort.abort(new Error('enough'));
      await expect(pending).rejects.toThrow('enough');
      expect(existsSync(destination)).toBe(false);
      connected = Promise.withResolvers();
      await expect(bring(newProvider({ transports: ['http'], timeoutMs: 300 }), 'HEAD', from)).rejects.toMatchObject({
        code: 'GIT_TIMED_OUT',
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  test('is a shallow checkout with a detached HEAD and no branch, as build services make them', async () => {
    commit(source, { file: '1' });
    const second = commit(source, { file: '2' });
    const shallow = join(dir, 'shallow');
    git(dir, 'clone', '--quiet', '--depth=1', pathToFileURL(source).href, shallow);
    git(shallow, 'checkout', '--quiet', '--detach');
    git(shallow, 'branch', '--quiet', '-D', 'main');
    git(shallow, 'remote', 'remove', 'origin');
    const provider = newProvider();
    for (const revision of ['HEAD', second]) {
      const copy = await bring(provider, revision, shallow);
      expect(copy.revision).toBe(second);
      expect(git(copy.dir, 'rev-parse', 'HEAD')).toBe(second);
    }
  });

  test('has a detached HEAD and no branch, but all its history', async () => {
    const only = commit(source, { file: '1' });
    git(source, 'checkout', '--quiet', '--detach');
    git(source, 'branch', '--quiet', '-D', 'main');
    expect((await bring(newProvider())).revision).toBe(only);
  });

  test('runs no hook, neither of the template nor of the source', async () => {
    const marker = join(dir, 'hook-ran');
    mkdirSync(join(dir, 'template', 'hooks'), { recursive: true });
    writeFileSync(join(dir, 'template', 'hooks', 'post-checkout'), `#!/bin/sh\ntouch ${marker}\n`, { mode: 0o755 });
    writeFileSync(join(dir, 'gitconfig'), `[init]\n\ttemplateDir = ${join(dir, 'template')}\n`);
    commit(source, { file: '1' });
    vi.stubEnv('GIT_CONFIG_GLOBAL', join(dir, 'gitconfig'));
    vi.stubEnv('GIT_DIR', '/nowhere');
    try {
      await bring(newProvider());
    } finally {
      vi.unstubAllEnvs();
    }
    expect(existsSync(marker)).toBe(false);
  });
});

describe('the cache of mirrors', () => {
  test('a copy outlives its mirror, and shares nothing that a write could spoil', async () => {
    const id = commit(source, { file: '1' });
    const provider = newProvider();
    const copy = await bring(provider);
    rmSync(join(dir, 'cache'), { recursive: true });
    git(copy.dir, 'fsck', '--full');
    expect(commit(copy.dir, { file: 'changed' })).not.toBe(id);
    const other = await bring(provider);
    expect(readFileSync(join(other.dir, 'file'), 'utf8')).toBe('1');
    expect(git(copy.dir, 'remote', 'get-url', 'origin')).toBe(source);
  });

  test('keeps the most recently used within its bound', async () => {
    const sources = ['a', 'b', 'c'].map((name) => newRepository(join(dir, name)));
    for (const each of sources) commit(each, { file: each });
    const provider = newProvider({ mirrorsMax: 2 });
    const copies = [];
    for (const each of sources) copies.push(await bring(provider, 'HEAD', each));
    expect(mirrors()).toHaveLength(2);
    for (const copy of copies) git(copy.dir, 'fsck', '--full');
    expect((await bring(provider, 'HEAD', sources[0]!)).revision).toBe(copies[0]!.revision);
    expect(mirrors()).toHaveLength(2);
    expect(leftInCache()).toEqual([]);
  });

  test('a mirror that a crash damaged is made anew', async () => {
    const id = commit(source, { file: '1' });
    const provider = newProvider();
    await bring(provider);
    const mirror = join(dir, 'cache', mirrors()[0]!);
    writeFileSync(join(mirror, 'HEAD.lock'), '');
    writeFileSync(join(mirror, 'packed-refs.lock'), '');
    git(source, 'branch', 'new');
    rmSync(join(mirror, 'HEAD'));
    expect((await bring(provider, 'new')).revision).toBe(id);
    expect(leftInCache()).toEqual([]);
  });

  test('processes that use one mirror at once take turns', async () => {
    const id = commit(source, { file: '1' });
    const script = `
      import { createGitWorkspaceProvider } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const [, , , cacheDir, source, destination] = ['', '', '', ...process.argv.slice(1)];
      const provider = createGitWorkspaceProvider({ cacheDir });
      const made = await Promise.all([0, 1, 2].map((n) => provider.materialize({ source, destination: destination + n }, new AbortController().signal)));
      process.stdout.write(made.map(({ revision }) => revision).join());`;
    const run = async (name: string) => {
      const args = [
        '--conditions=@drover/source',
        '--input-type=module',
        '-e',
        script,
        '--',
        join(dir, 'cache'),
        source,
        join(dir, name),
      ];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      let out = '';
      child.stdout.on('data', (bytes: Buffer) => (out += bytes.toString()));
      await once(child, 'close');
      return out;
    };
    expect(await Promise.all(['x', 'y'].map(run))).toEqual(Array(2).fill([id, id, id].join()));
    expect(mirrors()).toHaveLength(1);
    expect(leftInCache()).toEqual([]);
  });
});

describe('submodules', () => {
  test('come when asked for, by relative urls too, and are left out otherwise', async () => {
    const inner = newRepository(join(dir, 'inner'));
    commit(inner, { deep: 'in' });
    git(source, 'submodule', '--quiet', 'add', '../inner', 'sub');
    commit(source, { file: '1' });
    const provider = newProvider();
    const without = await bring(provider);
    expect(readdirSync(join(without.dir, 'sub'))).toEqual([]);
    const destination = join(dir, 'with');
    await provider.materialize({ source, destination, submodules: true }, never);
    expect(readFileSync(join(destination, 'sub', 'deep'), 'utf8')).toBe('in');
    rmSync(inner, { recursive: true });
    const failing = provider.materialize({ source, destination: join(dir, 'failing'), submodules: true }, never);
    await expect(failing).rejects.toThrow(/submodules/);
    expect(existsSync(join(dir, 'failing'))).toBe(false);
  });
});

describe('repositories of other users', () => {
  const nobody = 65534;
  const asRoot = process.getuid?.() === 0;

  function giveAway(path: string): void {
    chownSync(path, nobody, nobody);
    for (const entry of readdirSync(path, { recursive: true, withFileTypes: true })) {
      if (!entry.isSymbolicLink()) chownSync(join(entry.parentPath, entry.name), nobody, nobody);
    }
  }

  test.skipIf(!asRoot)('root takes a repository that belongs to another user [limits:root-only]', async () => {
    const id = commit(source, { file: '1' });
    giveAway(source);
    expect(() => git(source, 'rev-parse', 'HEAD')).toThrow(/dubious ownership/);
    for (const from of [source, `${source}/.git`, pathToFileURL(source).href])
      expect((await bring(newProvider(), 'HEAD', from)).revision).toBe(id);
  });

  /** Whether another user can run what is in this checkout: not in a clone under /root. */
  function isReadableByOthers(): boolean {
    const args = ['-e', `require('node:fs').readdirSync(${JSON.stringify(import.meta.dirname)})`];
    try {
      execFileSync(process.execPath, args, { uid: nobody, gid: nobody, cwd: '/', stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  }

  test.skipIf(!asRoot || !isReadableByOthers())(
    'another user takes a repository that belongs to root [limits:checkout-closed-to-others]',
    async () => {
      const id = commit(source, { file: '1' });
      chmodSync(dir, 0o755);
      const home = join(dir, 'home');
      mkdirSync(home);
      chownSync(home, nobody, nobody);
      const script = `
      import { createGitWorkspaceProvider } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
      const provider = createGitWorkspaceProvider({ cacheDir: ${JSON.stringify(join(home, 'cache'))} });
      const { revision } = await provider.materialize({ source: ${JSON.stringify(source)}, destination: ${JSON.stringify(join(home, 'copy'))} }, new AbortController().signal);
      console.log(process.getuid(), revision);`;
      const args = ['--conditions=@drover/source', '--input-type=module', '-e', script];
      const env = { PATH: process.env['PATH'] ?? '', HOME: home };
      const out = execFileSync(process.execPath, args, { uid: nobody, gid: nobody, cwd: home, env, encoding: 'utf8' });
      expect(out).toBe(`${nobody} ${id}\n`);
    },
  );
});

test('git that is not there is told', async () => {
  commit(source, { file: '1' });
  await expect(bring(newProvider({ gitPath: '/no/such/git' }))).rejects.toMatchObject({
    code: 'GIT_MISSING',
    advice: 'unavailable',
  });
});
