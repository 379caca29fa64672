import { create, toBinary } from '@bufbuild/protobuf';
import { isDroverError } from '@drover/lease-kit';
import { DirectorySchema } from '@drover/standard-protocols';
import { constants, createReadStream } from 'node:fs';
import { lstat, open, readdir, readlink, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { pathEscapes, symlinkEscapes, treeEntryUnsupported, treeFileChanged, treeTooLarge } from './content-errors.ts';
import type { CallOptions, ContentStore } from './content-store.ts';
import { createDigestHasher, digestOfBytes, formatDigest, type Digest } from './digest.ts';
import { forEachLimited } from './for-each-limited.ts';
import { TreeCount, type TreeFigures, type TreeLimits } from './tree-limits.ts';
import { checkSymlinkTarget, splitTreePath } from './tree-path.ts';
import { digestToWire } from './wire-digest.ts';

/** What to store, and within which bounds. */
export interface StoreTreeOptions extends CallOptions {
  /** The folder that the paths are relative to and that nothing may leave. */
  readonly directory: string;
  /** Files, folders (with all that is in them) and symbolic links, by relative path. Default: the whole folder. */
  readonly paths?: readonly string[];
  readonly limits?: TreeLimits;
}

/** A tree that is in a store. */
export interface StoredTree extends TreeFigures {
  /** Of the root's Directory message. */
  readonly digest: Digest;
  /** Bytes that the store did not have and was given, Directory messages among them. */
  readonly uploadedBytes: number;
}

interface FoundFile {
  readonly path: string;
  readonly isExecutable: boolean;
  digest?: Digest;
}

interface FoundFolder {
  readonly folders: Map<string, FoundFolder>;
  readonly files: Map<string, FoundFile>;
  readonly symlinks: Map<string, string>;
}

const hashConcurrency = 4;
const writeConcurrency = 32;
const findMissingSlice = 1000;

/**
 * Stores files and folders as Remote Execution API Directory messages in canonical form, so that equal trees have equal
 * digests: names, bytes, the executable bit and symbolic links count; times and owners do not. Folders that are empty are
 * kept. Throws `PATH_ESCAPES`, `SYMLINK_ESCAPES`, `TREE_ENTRY_UNSUPPORTED` (sockets and the like, paths through a link),
 * `TREE_FILE_CHANGED`, `TREE_TOO_LARGE`, what the file system says (a path that does not exist is `ENOENT`), and what the
 * store throws. After an error or an abort, blobs that were stored already stay until the store needs their room.
 */
export async function storeTree(store: ContentStore, options: StoreTreeOptions): Promise<StoredTree> {
  const count = new TreeCount(options.limits);
  const rootPath = await realpath(options.directory);
  const root = emptyFolder();
  for (const path of options.paths ?? ['.']) await addPath(rootPath, root, path, count, options.signal);

  const files = [...filesOf(root)];
  await forEachLimited(files, hashConcurrency, async (file) => {
    file.digest = await digestOfFile(join(rootPath, file.path), file.path, options.signal);
  });
  const messages: Uint8Array[] = [];
  const digest = encodeFolder(root, messages, count.limits.directoryBytesMax);

  const sources = new Map<string, { digest: Digest; file?: FoundFile; bytes?: Uint8Array }>();
  for (const file of files) sources.set(formatDigest(file.digest!), { digest: file.digest!, file });
  // Directories last: whoever sees one in the store finds what it names.
  for (const bytes of messages) {
    const of = digestOfBytes(bytes);
    sources.set(formatDigest(of), { digest: of, bytes });
  }
  const call = options.signal === undefined ? {} : { signal: options.signal };
  const all = [...sources.values()];
  let uploadedBytes = 0;
  for (let at = 0; at < all.length; at += findMissingSlice) {
    const slice = all.slice(at, at + findMissingSlice).map((source) => source.digest);
    const missing = await store.findMissing(slice, call);
    await forEachLimited(missing, writeConcurrency, async (wanted) => {
      const { file, bytes } = sources.get(formatDigest(wanted))!;
      if (bytes !== undefined) await store.write(wanted, bytes, call);
      else await writeFile(store, wanted, join(rootPath, file!.path), file!.path, call);
      uploadedBytes += wanted.sizeBytes;
    });
  }
  return { digest, uploadedBytes, ...count.figures() };
}

function emptyFolder(): FoundFolder {
  return { folders: new Map(), files: new Map(), symlinks: new Map() };
}

/** Adds what stands at one of the caller's paths, making the folders above it. */
async function addPath(
  rootPath: string,
  root: FoundFolder,
  path: string,
  count: TreeCount,
  signal: AbortSignal | undefined,
): Promise<void> {
  const parts = splitTreePath(path);
  const name = parts.pop();
  if (name === undefined) return addFolder(rootPath, root, '', 0, count, signal);
  let folder = root;
  let at = '';
  for (const [depth, part] of parts.entries()) {
    at = at === '' ? part : `${at}/${part}`;
    const stat = await lstat(join(rootPath, at));
    if (stat.isSymbolicLink()) await refuseThroughLink(rootPath, path, at);
    if (!stat.isDirectory()) throw treeEntryUnsupported(at, 'is no folder, but a path goes through it');
    folder = childFolder(folder, part, depth + 1, count);
  }
  await addEntry(rootPath, folder, at, name, parts.length, count, signal);
}

async function refuseThroughLink(rootPath: string, path: string, at: string): Promise<never> {
  const target = await realpath(join(rootPath, at));
  if (target !== rootPath && !target.startsWith(rootPath + sep)) {
    throw symlinkEscapes(at, await readlink(join(rootPath, at)), `takes path "${path}" out of the folder`);
  }
  throw treeEntryUnsupported(path, `goes through the symbolic link "${at}": name the place it leads to`);
}

function childFolder(folder: FoundFolder, name: string, depth: number, count: TreeCount): FoundFolder {
  const known = folder.folders.get(name);
  if (known !== undefined) return known;
  count.directory(depth);
  const made = emptyFolder();
  folder.folders.set(name, made);
  return made;
}

async function addEntry(
  rootPath: string,
  folder: FoundFolder,
  folderPath: string,
  name: string,
  depth: number,
  count: TreeCount,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = folderPath === '' ? name : `${folderPath}/${name}`;
  const stat = await lstat(join(rootPath, path));
  if (stat.isSymbolicLink()) {
    const target = await readlink(join(rootPath, path));
    checkSymlinkTarget(path, target);
    if (!folder.symlinks.has(name)) count.symlink();
    folder.symlinks.set(name, target);
  } else if (stat.isDirectory()) {
    await addFolder(rootPath, childFolder(folder, name, depth + 1, count), path, depth + 1, count, signal);
  } else if (stat.isFile()) {
    if (!folder.files.has(name)) count.file(stat.size);
    folder.files.set(name, { path, isExecutable: (stat.mode & 0o111) !== 0 });
  } else {
    throw treeEntryUnsupported(path, 'is no file, folder or symbolic link');
  }
}

async function addFolder(
  rootPath: string,
  folder: FoundFolder,
  path: string,
  depth: number,
  count: TreeCount,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  for (const name of await readdir(join(rootPath, path))) {
    if (name.includes('�')) throw pathEscapes(`${path}/${name}`, 'has a name that is not UTF-8');
    await addEntry(rootPath, folder, path, name, depth, count, signal);
  }
}

function* filesOf(folder: FoundFolder): Generator<FoundFile> {
  yield* folder.files.values();
  for (const child of folder.folders.values()) yield* filesOf(child);
}

/** Encodes a folder and those below it, children before parents, and returns its digest. */
function encodeFolder(folder: FoundFolder, messages: Uint8Array[], directoryBytesMax: number): Digest {
  const directory = create(DirectorySchema, {
    files: sorted(folder.files).map(([name, file]) => ({
      name,
      digest: digestToWire(file.digest!),
      isExecutable: file.isExecutable,
    })),
    directories: sorted(folder.folders).map(([name, child]) => ({
      name,
      digest: digestToWire(encodeFolder(child, messages, directoryBytesMax)),
    })),
    symlinks: sorted(folder.symlinks).map(([name, target]) => ({ name, target })),
  });
  const bytes = toBinary(DirectorySchema, directory);
  if (bytes.byteLength > directoryBytesMax) throw treeTooLarge('directoryBytesMax', directoryBytesMax);
  messages.push(bytes);
  return digestOfBytes(bytes);
}

/** By the UTF-8 bytes of the name, as the canonical form wants; JavaScript's own order is by UTF-16 units. */
function sorted<T>(entries: Map<string, T>): [string, T][] {
  return [...entries].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Never through a link that took the file's place, and never hanging on a pipe that did. */
const readFlags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

async function digestOfFile(file: string, path: string, signal: AbortSignal | undefined): Promise<Digest> {
  signal?.throwIfAborted();
  const hasher = createDigestHasher();
  const handle = await open(file, readFlags);
  try {
    if (!(await handle.stat()).isFile()) throw treeEntryUnsupported(path, 'is no file any more');
    const buffer = Buffer.allocUnsafe(256 * 1024);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, null);
      if (bytesRead === 0) return hasher.digest();
      hasher.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await handle.close();
  }
}

async function writeFile(
  store: ContentStore,
  digest: Digest,
  file: string,
  path: string,
  call: CallOptions,
): Promise<void> {
  const source = (start: number): AsyncIterable<Uint8Array> =>
    createReadStream(file, { start, flags: readFlags as unknown as string, highWaterMark: 256 * 1024 });
  try {
    await store.write(digest, source, call);
  } catch (error) {
    if (isDroverError(error, 'DIGEST_MISMATCH')) throw treeFileChanged(path, error);
    throw error;
  }
}
