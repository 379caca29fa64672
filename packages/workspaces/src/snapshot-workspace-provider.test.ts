import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withSnapshotFallback } from './snapshot-fallback.ts';
import { createSnapshotWorkspaceProvider } from './snapshot-workspace-provider.ts';
import { workspaceProviderCompliance } from './testing/index.ts';

const never = new AbortController().signal;

async function writeFiles(dir: string, files: Record<string, string>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(dir, path)), { recursive: true });
    await writeFile(join(dir, path), content, { mode: path.endsWith('.sh') ? 0o755 : 0o444 });
  }
}

workspaceProviderCompliance({
  describe,
  test,
  expect,
  async make() {
    const source = await mkdtemp(join(tmpdir(), 'drover-snapshot-'));
    await writeFiles(source, {
      'a.txt': 'a',
      'deep/er/run.sh': '#!/bin/sh\n',
      'node_modules/x/index.js': 'x',
      '.git': 'gitdir: x',
    });
    await symlink('deep/er/run.sh', join(source, 'link'));
    return {
      provider: createSnapshotWorkspaceProvider(),
      source,
      files: {
        'a.txt': { content: 'a' },
        'deep/er/run.sh': { content: '#!/bin/sh\n', executable: true },
        link: { link: 'deep/er/run.sh' },
      },
      unknownRevision: `sha256:${'0'.repeat(64)}`,
      missingSource: `${source}-missing`,
      dispose: () => rm(source, { recursive: true }),
    };
  },
});

describe('a snapshot', () => {
  let source: string;
  let destination: string;
  beforeEach(async () => {
    source = await mkdtemp(join(tmpdir(), 'drover-snapshot-'));
    destination = join(source, 'copies', 'one');
  });
  afterEach(() => rm(source, { recursive: true }));

  const paths = async () =>
    (await readdir(destination, { recursive: true, withFileTypes: true }))
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(destination.length + 1))
      .sort();

  test('leaves out what is made from source, what .gitignore files say, and its own destination', async () => {
    await writeFiles(source, {
      '.gitignore': '*.log\n!keep.log\n/top.txt\nbuild/\n',
      'keep.log': '',
      'drop.log': '',
      'top.txt': '',
      'sub/top.txt': '',
      'sub/.gitignore': 'secret\n!wanted.log\n',
      'sub/wanted.log': '',
      'sub/secret': '',
      secret: '',
      'sub/build/x': '',
      'sub/dist/x': '',
      'packages/p/node_modules/x': '',
      '.drover/x': '',
      '.nx/x': '',
      '.git/HEAD': '',
    });
    await createSnapshotWorkspaceProvider().materialize({ source, destination }, never);
    expect(await paths()).toEqual([
      '.gitignore',
      'keep.log',
      'secret',
      'sub/.gitignore',
      'sub/top.txt',
      'sub/wanted.log',
    ]);
  });

  test('has a revision that follows content, mode and name', async () => {
    const provider = createSnapshotWorkspaceProvider({ excludes: ['copies'] });
    const revision = async () => {
      await using copy = await provider.materialize({ source, destination, revision: 'HEAD' }, never);
      return copy.revision;
    };
    await writeFiles(source, { a: '1' });
    const first = await revision();
    expect(first).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await revision()).toBe(first);
    await rm(join(source, 'a'));
    await writeFiles(source, { b: '1' });
    const renamed = await revision();
    await writeFile(join(source, 'c'), '2');
    expect(new Set([first, renamed, await revision()]).size).toBe(3);
    await expect(provider.materialize({ source, destination, revision: first }, never)).rejects.toMatchObject({
      code: 'WORKSPACE_REVISION_UNKNOWN',
    });
  });

  test.each(['/etc/passwd', '../outside', 'x/../../outside'])(
    'refuses a link that leads out of the folder, to %s',
    async (target) => {
      await symlink(target, join(source, 'link'));
      const copying = createSnapshotWorkspaceProvider().materialize({ source, destination }, never);
      await expect(copying).rejects.toMatchObject({
        code: 'WORKSPACE_LINK_ESCAPES',
        details: { path: 'link', target },
      });
    },
  );

  test('keeps its bounds', async () => {
    await writeFiles(source, { a: '12345', b: '12345' });
    for (const options of [{ filesMax: 1 }, { sizeBytesMax: 9 }]) {
      const copying = createSnapshotWorkspaceProvider(options).materialize({ source, destination }, never);
      await expect(copying).rejects.toMatchObject({ code: 'WORKSPACE_TOO_LARGE', advice: 'exhausted' });
    }
    await createSnapshotWorkspaceProvider({ filesMax: 2, sizeBytesMax: 10 }).materialize(
      { source, destination },
      never,
    );
  });

  test('refuses a source that is no absolute path', async () => {
    const copying = createSnapshotWorkspaceProvider().materialize({ source: 'here', destination }, never);
    await expect(copying).rejects.toMatchObject({ code: 'WORKSPACE_SOURCE_INVALID' });
  });

  test('is the fallback for a folder without a repository', async () => {
    const told = (kind: string) => ({ kind, materialize: () => Promise.reject(new Error(kind)) });
    const provider = withSnapshotFallback(told('git'), told('snapshot'));
    const asked = (from: string) => provider.materialize({ source: from, destination }, never);
    await writeFiles(source, {
      'plain/a': '',
      'checkout/.git/HEAD': '',
      'bare/HEAD': '',
      'bare/objects/x': '',
      'bare/refs/x': '',
    });
    await expect(asked(join(source, 'plain'))).rejects.toThrow('snapshot');
    for (const from of ['checkout', 'bare', 'missing']) await expect(asked(join(source, from))).rejects.toThrow('git');
    await expect(asked('https://example.org/x.git')).rejects.toThrow('git');
  });
});
