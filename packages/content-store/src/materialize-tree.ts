import { randomUUID } from 'node:crypto';
import { chmod, copyFile, lstat, mkdir, open, realpath, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Directory } from '@drover/standard-protocols';
import { digestMismatch, symlinkEscapes, treeEntryUnsupported, treeInvalid } from './content-errors.ts';
import type { CallOptions, ContentStore } from './content-store.ts';
import { createDigestHasher, digestEquals, formatDigest, type Digest } from './digest.ts';
import { forEachLimited } from './for-each-limited.ts';
import { TreeCount, type TreeFigures, type TreeLimits } from './tree-limits.ts';
import { checkSymlinkTarget, checkTreeName } from './tree-path.ts';
import { digestOfNode, walkTree } from './walk-tree.ts';

/** Where to put a tree, and within which bounds. */
export interface MaterializeTreeOptions extends CallOptions {
  /** The folder that becomes the root; it is made if absent, and what is in it stays unless the tree has that name. */
  readonly directory: string;
  readonly limits?: TreeLimits;
}

interface Plan {
  /** Parents before children. */
  readonly folders: string[];
  /** By digest, so that each blob is read once. */
  readonly files: Map<string, { readonly digest: Digest; readonly places: { path: string; isExecutable: boolean }[] }>;
  readonly symlinks: { readonly path: string; readonly target: string }[];
  readonly count: TreeCount;
}

const fileConcurrency = 16;

/**
 * Writes a tree of Remote Execution API Directory messages as files and folders. The whole tree is read and checked before
 * the first file is written. Each file is verified and appears under its name only when complete, replacing a file or link
 * that was there; files get mode 644 or, if executable, 755, less the umask. It never writes through a symbolic link.
 * Throws `PATH_ESCAPES`, `SYMLINK_ESCAPES`, `TREE_INVALID`, `TREE_TOO_LARGE`, `TREE_ENTRY_UNSUPPORTED` (a folder stands
 * where a file belongs, or the reverse), `BLOB_NOT_FOUND`, `DIGEST_MISMATCH` and what the file system says. After an error or
 * an abort the files that were complete stay.
 */
export async function materializeTree(
  store: ContentStore,
  digest: Digest,
  options: MaterializeTreeOptions,
): Promise<TreeFigures> {
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const directories = new Map<string, Directory>();
  for await (const found of walkTree(store, digest, options)) {
    directories.set(formatDigest(found.digest), found.directory);
  }
  const plan: Plan = { folders: [], files: new Map(), symlinks: [], count: new TreeCount(options.limits) };
  planFolder(directories, digest, '', 0, plan);

  await mkdir(options.directory, { recursive: true });
  const root = await realpath(options.directory);
  for (const path of plan.folders) await makeFolder(root, path);
  await forEachLimited(plan.files.values(), fileConcurrency, async ({ digest: of, places }) => {
    const [first, ...others] = places;
    await placeFile(root, first!, (file) => writeVerified(store, of, file, call));
    for (const other of others) {
      options.signal?.throwIfAborted();
      await placeFile(root, other, async (file, mode) => {
        await copyFile(join(root, first!.path), file);
        await chmod(file, mode); // copying a file copies its mode too
      });
    }
  });
  // Links last, so that nothing of this tree was written through one.
  for (const { path, target } of plan.symlinks) await placeSymlink(root, path, target);
  return plan.count.figures();
}

function planFolder(
  directories: ReadonlyMap<string, Directory>,
  digest: Digest,
  folder: string,
  depth: number,
  plan: Plan,
): void {
  const directory = directories.get(formatDigest(digest))!;
  const names = new Set<string>();
  const place = (name: string): string => {
    checkTreeName(name, folder);
    if (names.has(name)) throw treeInvalid(digest, `has two entries "${name}"`);
    names.add(name);
    return folder === '' ? name : `${folder}/${name}`;
  };
  for (const node of directory.files) {
    const path = place(node.name);
    const of = digestOfNode(node, digest);
    plan.count.file(of.sizeBytes);
    const file = plan.files.get(formatDigest(of)) ?? { digest: of, places: [] };
    file.places.push({ path, isExecutable: node.isExecutable });
    plan.files.set(formatDigest(of), file);
  }
  for (const node of directory.symlinks) {
    const path = place(node.name);
    checkSymlinkTarget(path, node.target);
    plan.count.symlink();
    plan.symlinks.push({ path, target: node.target });
  }
  for (const node of directory.directories) {
    const path = place(node.name);
    plan.count.directory(depth + 1);
    plan.folders.push(path);
    planFolder(directories, digestOfNode(node, digest), path, depth + 1, plan);
  }
}

async function makeFolder(root: string, path: string): Promise<void> {
  try {
    await mkdir(join(root, path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const stat = await lstat(join(root, path));
    if (stat.isSymbolicLink()) throw symlinkEscapes(path, '?', 'stands where the tree has a folder');
    if (!stat.isDirectory()) throw treeEntryUnsupported(path, 'is no folder, but the tree has one there');
  }
}

/** Fills a new file beside its place and renames it there: a reader never sees half of it. */
async function placeFile(
  root: string,
  place: { readonly path: string; readonly isExecutable: boolean },
  fill: (file: string, mode: number) => Promise<void>,
): Promise<void> {
  const temporary = join(root, place.path, '..', `.drover-${randomUUID()}`);
  try {
    const handle = await open(temporary, 'wx', place.isExecutable ? 0o755 : 0o644);
    const { mode } = await handle.stat().finally(() => handle.close());
    await fill(temporary, mode & 0o777);
    await renameOver(temporary, root, place.path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function placeSymlink(root: string, path: string, target: string): Promise<void> {
  const temporary = join(root, path, '..', `.drover-${randomUUID()}`);
  try {
    await symlink(target, temporary);
    await renameOver(temporary, root, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

async function renameOver(temporary: string, root: string, path: string): Promise<void> {
  try {
    await rename(temporary, join(root, path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EISDIR' || code === 'ENOTEMPTY' || code === 'EEXIST') {
      throw treeEntryUnsupported(path, 'is a folder, but the tree has a file or link there');
    }
    throw error;
  }
}

async function writeVerified(store: ContentStore, digest: Digest, file: string, call: CallOptions): Promise<void> {
  const hasher = createDigestHasher();
  const handle = await open(file, 'r+');
  try {
    for await (const chunk of store.read(digest, call)) {
      hasher.update(chunk);
      if (hasher.sizeBytes > digest.sizeBytes) throw digestMismatch(digest, { sizeBytes: hasher.sizeBytes });
      let at = 0;
      while (at < chunk.byteLength) at += (await handle.write(chunk, at)).bytesWritten;
    }
  } finally {
    await handle.close();
  }
  const actual = hasher.digest();
  if (!digestEquals(actual, digest)) throw digestMismatch(digest, actual);
}
