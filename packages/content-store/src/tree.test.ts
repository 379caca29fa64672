import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { DirectorySchema } from '@drover/standard-protocols';
import { execFileSync } from 'node:child_process';
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  collectBytes,
  createMemoryContentStore,
  digestOfBytes,
  materializeTree,
  storeTree,
  treeDigests,
  walkTree,
  type Digest,
  type LocalContentStore,
} from './index.ts';

let store: LocalContentStore;
let base: string;
let from: string;
let to: string;

beforeEach(async () => {
  store = createMemoryContentStore();
  base = await mkdtemp(join(tmpdir(), 'drover-tree-'));
  from = join(base, 'from');
  to = join(base, 'to');
  await mkdir(from);
});
afterEach(() => rm(base, { recursive: true, force: true }));

const put = async (path: string, text = path): Promise<void> => {
  await mkdir(join(from, path, '..'), { recursive: true });
  await writeFile(join(from, path), text);
};
/** Stores a Directory message as it stands, canonical or not. */
const storeDirectory = async (directory: MessageInitShape<typeof DirectorySchema>): Promise<Digest> => {
  const bytes = toBinary(DirectorySchema, create(DirectorySchema, directory));
  await store.write(digestOfBytes(bytes), bytes);
  return digestOfBytes(bytes);
};
const storeFile = async (text: string): Promise<{ hash: string; sizeBytes: bigint }> => {
  const digest = digestOfBytes(Buffer.from(text));
  await store.write(digest, Buffer.from(text));
  return { hash: digest.hash, sizeBytes: BigInt(digest.sizeBytes) };
};
const rejectsWith = (promise: Promise<unknown>, code: string): Promise<void> =>
  expect(promise).rejects.toMatchObject({ code });

describe('a tree', () => {
  test('comes back as it was: bytes, executable bits, links, empty folders', async () => {
    await put('README');
    await put('src/a.txt', 'same');
    await put('src/deep/b.txt', 'same');
    await put('bin/run', '#!/bin/sh\n');
    await chmod(join(from, 'bin/run'), 0o755);
    await put('bin/copy', '#!/bin/sh\n');
    await mkdir(join(from, 'empty'));
    await symlink('../src/a.txt', join(from, 'bin/link'));
    await symlink('src', join(from, 'folder-link'));
    const big = Buffer.alloc(3_000_000, 'big');
    await writeFile(join(from, 'big'), big);

    const stored = await storeTree(store, { directory: from });
    expect(stored).toMatchObject({ fileCount: 6, directoryCount: 4, symlinkCount: 2 });
    expect(stored.uploadedBytes).toBeGreaterThan(3_000_000);
    const figures = await materializeTree(store, stored.digest, { directory: to });
    expect(figures).toEqual({ fileCount: 6, directoryCount: 4, symlinkCount: 2, sizeBytes: stored.sizeBytes });

    expect(execFileSync('diff', ['-r', '--no-dereference', from, to]).toString()).toBe('');
    expect((await stat(join(to, 'bin/run'))).mode & 0o111).toBe(0o111);
    expect((await stat(join(to, 'bin/copy'))).mode & 0o111).toBe(0);
    expect(await readdir(join(to, 'empty'))).toEqual([]);
    expect(await readlink(join(to, 'bin/link'))).toBe('../src/a.txt');
    expect((await storeTree(store, { directory: to })).digest).toEqual(stored.digest);
    expect((await storeTree(store, { directory: to })).uploadedBytes).toBe(0);
  });

  test('is in canonical form', async () => {
    for (const name of ['\u{1f600}', '\uffee', 'b', 'B', 'é']) await put(name);
    const { digest } = await storeTree(store, { directory: from });
    const directory = fromBinary(DirectorySchema, await collectBytes(store.read(digest), 10_000));
    // By UTF-8 bytes; JavaScript's own order puts the emoji before U+FFEE.
    expect(directory.files.map((file) => file.name)).toEqual(['B', 'b', 'é', '\uffee', '\u{1f600}']);
  });

  test('holds the chosen paths only, each once', async () => {
    for (const path of ['a/one', 'a/two', 'b/three', 'c']) await put(path);
    const { digest, fileCount } = await storeTree(store, { directory: from, paths: ['a', './a/one', 'b//three'] });
    expect(fileCount).toBe(3);
    await materializeTree(store, digest, { directory: to });
    expect((await readdir(to, { recursive: true })).sort()).toEqual(['a', 'a/one', 'a/two', 'b', 'b/three']);
  });

  test('tells the blobs it needs', async () => {
    await put('a/x', 'same');
    await put('b/x', 'same');
    await put('c', 'other');
    const { digest } = await storeTree(store, { directory: from });
    const digests = await treeDigests(store, digest);
    expect(digests).toHaveLength(4); // the root, one folder that stands twice, two files
    expect(digests[0]).toEqual(digest);
    expect(await store.findMissing(digests)).toEqual([]);
  });

  test('goes into a folder that has something in it', async () => {
    await put('a/new');
    await put('kept', 'replaced');
    const { digest } = await storeTree(store, { directory: from });
    await mkdir(join(to, 'a'), { recursive: true });
    await writeFile(join(to, 'a/old'), 'old');
    await writeFile(join(to, 'kept'), 'old');
    await materializeTree(store, digest, { directory: to });
    expect((await readdir(join(to, 'a'))).sort()).toEqual(['new', 'old']);
    expect(await readFile(join(to, 'kept'), 'utf8')).toBe('replaced');
  });
});

describe('storing refuses', () => {
  test.each(['../secret', '/etc/passwd', 'a/../../secret', 'a/..', '', 'a\0b'])('the path %j', async (path) => {
    await put('a/x');
    await rejectsWith(storeTree(store, { directory: from, paths: [path] }), 'PATH_ESCAPES');
  });

  test.each(['/etc/passwd', '../secret', 'a/../../x', 'a/../x', '..'])('a link to %j', async (target) => {
    await put('a/x');
    await symlink(target, join(from, 'link'));
    await rejectsWith(storeTree(store, { directory: from }), 'SYMLINK_ESCAPES');
  });

  test('a path through a link out of the folder', async () => {
    await mkdir(join(base, 'secret'));
    await writeFile(join(base, 'secret/x'), 'secret');
    await symlink('../secret', join(from, 'link'));
    await rejectsWith(storeTree(store, { directory: from, paths: ['link/x'] }), 'SYMLINK_ESCAPES');
    expect((await store.usage()).blobCount).toBe(0);
  });

  test('a path through a link inside the folder, as it has a better name', async () => {
    await put('a/x');
    await symlink('a', join(from, 'link'));
    await rejectsWith(storeTree(store, { directory: from, paths: ['link/x'] }), 'TREE_ENTRY_UNSUPPORTED');
  });

  test('what is no file', async () => {
    execFileSync('mkfifo', [join(from, 'pipe')]);
    await rejectsWith(storeTree(store, { directory: from }), 'TREE_ENTRY_UNSUPPORTED');
  });

  test('more than the bounds', async () => {
    for (const path of ['a/b/c/d', 'e', 'f']) await put(path, '12345');
    const bounded = (limits: object): Promise<unknown> => storeTree(store, { directory: from, limits });
    await rejectsWith(bounded({ entriesMax: 5 }), 'TREE_TOO_LARGE');
    await rejectsWith(bounded({ sizeBytesMax: 14 }), 'TREE_TOO_LARGE');
    await rejectsWith(bounded({ depthMax: 2 }), 'TREE_TOO_LARGE');
    await rejectsWith(bounded({ directoryBytesMax: 50 }), 'TREE_TOO_LARGE');
    await bounded({ entriesMax: 6, sizeBytesMax: 15, depthMax: 3 });
  });

  test('a path that is not there, as the file system says it', () =>
    rejectsWith(storeTree(store, { directory: from, paths: ['gone'] }), 'ENOENT'));

  test('to go on after an abort', async () => {
    await put('a');
    await expect(
      storeTree(store, { directory: from, signal: AbortSignal.abort(new Error('stopped')) }),
    ).rejects.toThrow('stopped');
  });
});

describe('materializing refuses', () => {
  test.each(['..', '.', '', 'a/b', '/etc/x', 'x\0'])('a file named %j', async (name) => {
    const digest = await storeDirectory({ files: [{ name, digest: await storeFile('x') }] });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'PATH_ESCAPES');
    await expect(lstat(to)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test.each(['..', '../x', '/tmp'])('a folder named %j', async (name) => {
    const child = await storeDirectory({});
    const wire = { hash: child.hash, sizeBytes: BigInt(child.sizeBytes) };
    const digest = await storeDirectory({ directories: [{ name, digest: wire }] });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'PATH_ESCAPES');
  });

  test.each(['/etc', '..', '../..', 'a/../../x', 'x/..', ''])('a link to %j', async (target) => {
    const digest = await storeDirectory({ symlinks: [{ name: 'link', target }] });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'SYMLINK_ESCAPES');
  });

  test('one name for two entries, so that no file goes through a link', async () => {
    const digest = await storeDirectory({
      symlinks: [{ name: 'a', target: 'b' }],
      files: [{ name: 'a', digest: await storeFile('x') }],
    });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'TREE_INVALID');
  });

  test('to go through a link that was there before', async () => {
    await put('a/x');
    const { digest } = await storeTree(store, { directory: from });
    await mkdir(join(base, 'outside'));
    await mkdir(to);
    await symlink('../outside', join(to, 'a'));
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'SYMLINK_ESCAPES');
    expect(await readdir(join(base, 'outside'))).toEqual([]);
  });

  test('to write behind a link that was there before: it is replaced', async () => {
    await put('x', 'new');
    const { digest } = await storeTree(store, { directory: from });
    await writeFile(join(base, 'outside'), 'untouched');
    await mkdir(to);
    await symlink('../outside', join(to, 'x'));
    await materializeTree(store, digest, { directory: to });
    expect((await lstat(join(to, 'x'))).isFile()).toBe(true);
    expect(await readFile(join(base, 'outside'), 'utf8')).toBe('untouched');
  });

  test('a folder where a file belongs, and leaves nothing beside it', async () => {
    await put('x');
    const { digest } = await storeTree(store, { directory: from });
    await mkdir(join(to, 'x/y'), { recursive: true });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'TREE_ENTRY_UNSUPPORTED');
    expect(await readdir(to)).toEqual(['x']);
  });

  test('bytes that are no Directory', async () => {
    const bytes = Buffer.from([0xff, 0xff, 0xff]);
    await store.write(digestOfBytes(bytes), bytes);
    await rejectsWith(materializeTree(store, digestOfBytes(bytes), { directory: to }), 'TREE_INVALID');
    const digest = await storeDirectory({ files: [{ name: 'x', digest: { hash: 'no', sizeBytes: 1n } }] });
    await rejectsWith(materializeTree(store, digest, { directory: to }), 'TREE_INVALID');
    const without = await storeDirectory({ files: [{ name: 'x' }] });
    await rejectsWith(materializeTree(store, without, { directory: to }), 'TREE_INVALID');
  });

  test('a tree that unfolds to more than the bounds, at once', async () => {
    // Thirty folders that hold the one below twice: 2^30 places out of 31 blobs.
    let below = await storeDirectory({});
    for (let depth = 0; depth < 30; depth++) {
      const digest = { hash: below.hash, sizeBytes: BigInt(below.sizeBytes) };
      below = await storeDirectory({ directories: ['a', 'b'].map((name) => ({ name, digest })) });
    }
    await rejectsWith(materializeTree(store, below, { directory: to }), 'TREE_TOO_LARGE');
    await rejectsWith(treeDigests(store, below, { limits: { depthMax: 10 } }), 'TREE_TOO_LARGE');
    await expect(lstat(to)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

test('a walk can leave out what is missing, but not the root', async () => {
  const digest = { hash: 'a'.repeat(64), sizeBytes: 5n };
  const root = await storeDirectory({ directories: [{ name: 'gone', digest }] });
  await rejectsWith(treeDigests(store, root), 'BLOB_NOT_FOUND');
  const walked: Digest[] = [];
  for await (const found of walkTree(store, root, { missing: 'skip' })) walked.push(found.digest);
  expect(walked).toEqual([root]);
  const noRoot = walkTree(store, { hash: 'b'.repeat(64), sizeBytes: 5 }, { missing: 'skip' });
  await rejectsWith(noRoot.next(), 'BLOB_NOT_FOUND');
});
