import { fromBinary } from '@bufbuild/protobuf';
import { isDroverError } from '@drover/lease-kit';
import { DirectorySchema, type Directory } from '@drover/standard-protocols';
import { collectBytes } from './byte-source.ts';
import { treeInvalid, treeTooLarge } from './content-errors.ts';
import type { CallOptions, ContentStore } from './content-store.ts';
import { checkDigest, digestOfBytes, digestEquals, formatDigest, type Digest } from './digest.ts';
import { resolveTreeLimits, type TreeLimits } from './tree-limits.ts';
import { digestFromWire, type WireDigest } from './wire-digest.ts';

/** One folder of a tree that was read from a store. */
export interface StoredDirectory {
  readonly digest: Digest;
  readonly directory: Directory;
}

/** How a tree is walked. */
export interface WalkTreeOptions extends CallOptions {
  readonly limits?: TreeLimits;
  /**
   * What to do about a folder below the root that the store does not have: `fail` throws `BLOB_NOT_FOUND` (default), `skip`
   * leaves it out with what is in it. A missing root always throws.
   */
  readonly missing?: 'fail' | 'skip';
}

/** How many Directory messages are asked for at once, so that a remote store can fetch them in one call. */
const levelSlice = 64;

/** A digest inside a Directory message as this package's type. Throws `TREE_INVALID` if it is absent or malformed. */
export function digestOfNode(
  node: { readonly name: string; readonly digest?: Readonly<WireDigest> | undefined },
  parent: Digest,
): Digest {
  if (node.digest === undefined) throw treeInvalid(parent, `has an entry "${node.name}" without a digest`);
  try {
    return digestFromWire(node.digest);
  } catch (error) {
    throw treeInvalid(parent, `has an entry "${node.name}" with a malformed digest`, error);
  }
}

/**
 * Every distinct folder of a tree of Remote Execution API Directory messages, the root first, parents before children,
 * each once however often it stands in the tree. Throws `BLOB_NOT_FOUND`, `TREE_INVALID`, `TREE_TOO_LARGE`.
 */
export async function* walkTree(
  store: ContentStore,
  root: Digest,
  options: WalkTreeOptions = {},
): AsyncGenerator<StoredDirectory> {
  const limits = resolveTreeLimits(options.limits);
  const seen = new Set([formatDigest(checkDigest(root))]);
  let level: Digest[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limits.depthMax) throw treeTooLarge('depthMax', limits.depthMax);
    const below: Digest[] = [];
    for (let at = 0; at < level.length; at += levelSlice) {
      const slice = level.slice(at, at + levelSlice);
      const found = await Promise.all(
        slice.map((digest) => readDirectory(store, digest, limits.directoryBytesMax, depth > 0, options)),
      );
      for (const [index, directory] of found.entries()) {
        if (directory === undefined) continue;
        const digest = slice[index]!;
        yield { digest, directory };
        for (const node of directory.directories) {
          const child = digestOfNode(node, digest);
          const key = formatDigest(child);
          if (seen.has(key)) continue;
          seen.add(key);
          if (seen.size > limits.entriesMax) throw treeTooLarge('entriesMax', limits.entriesMax);
          below.push(child);
        }
      }
    }
    level = below;
  }
}

/**
 * Every distinct blob that a tree needs, the Directory messages among them: what to pin, or to look for before the tree is
 * used. Throws like {@link walkTree}.
 */
export async function treeDigests(
  store: ContentStore,
  root: Digest,
  options: CallOptions & { readonly limits?: TreeLimits } = {},
): Promise<Digest[]> {
  const limits = resolveTreeLimits(options.limits);
  const digests = new Map<string, Digest>();
  for await (const { digest, directory } of walkTree(store, root, options)) {
    digests.set(formatDigest(digest), digest);
    for (const file of directory.files) {
      const of = digestOfNode(file, digest);
      digests.set(formatDigest(of), of);
    }
    if (digests.size > limits.entriesMax) throw treeTooLarge('entriesMax', limits.entriesMax);
  }
  return [...digests.values()];
}

async function readDirectory(
  store: ContentStore,
  digest: Digest,
  sizeBytesMax: number,
  mayBeMissing: boolean,
  options: WalkTreeOptions,
): Promise<Directory | undefined> {
  if (digest.sizeBytes > sizeBytesMax) throw treeTooLarge('directoryBytesMax', sizeBytesMax);
  const call = options.signal === undefined ? {} : { signal: options.signal };
  let bytes: Uint8Array;
  try {
    bytes = await collectBytes(store.read(digest, call), sizeBytesMax);
  } catch (error) {
    if (mayBeMissing && options.missing === 'skip' && isDroverError(error, 'BLOB_NOT_FOUND')) return undefined;
    throw error;
  }
  if (!digestEquals(digestOfBytes(bytes), digest)) throw treeInvalid(digest, 'came back damaged');
  try {
    return fromBinary(DirectorySchema, bytes);
  } catch (error) {
    throw treeInvalid(digest, 'is no Directory message', error);
  }
}
