import { createHash } from 'node:crypto';
import { mkdir, open, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { isDroverError, messageOf } from '@drover/lease-kit';
import { extract, type Extract } from 'tar-stream';
import { bundleRefused } from './bundle-errors.ts';
import { defaultBundleLimits, keepWithin, type BundleLimits } from './bundle-limits.ts';
import { bundleManifestName, parseBundleManifest, type BundleFile, type BundleManifest } from './bundle-manifest.ts';
import { checkBundlePath } from './bundle-path.ts';

/** Where to put a bundle. */
export interface UnpackBundleOptions {
  /** An empty folder that nobody else writes to. Absent: the bundle is read and checked, and nothing is written. */
  readonly folder?: string;
  readonly limits?: Partial<BundleLimits>;
  readonly signal?: AbortSignal;
  /** Told after each file with the bytes of all files so far. */
  readonly onProgress?: (bytes: number) => void;
}

type Entry = Extract extends AsyncIterable<infer One> ? One : never;

/**
 * Reads a bundle, checks all that its manifest says and writes its files; each is on the disk when it resolves, folders
 * included. Nothing is written that the manifest does not name: paths that leave the folder, links that lead out of it,
 * devices and hard links are refused before anything of them is made, and links are made last, so that nothing is written
 * through one. Whoever cares for what the archive is signed as checks its digest before.
 *
 * Throws the codes of `BundleFault`, what the source throws, and the signal's reason; what was written by then stays.
 */
export async function unpackBundle(
  archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: UnpackBundleOptions = {},
): Promise<BundleManifest> {
  const limits = { ...defaultBundleLimits, ...options.limits };
  const source = Readable.from(counted(archive, limits));
  const gunzip = createGunzip();
  const tar = extract();
  const failed = (error: unknown): void => {
    tar.destroy(isDroverError(error) || options.signal?.aborted === true ? (error as Error) : faultOf(error));
  };
  const onAbort = (): void => failed(options.signal!.reason);
  source.on('error', (error) => tar.destroy(error));
  gunzip.on('error', failed);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    options.signal?.throwIfAborted();
    source.pipe(gunzip).pipe(tar);
    return await readEntries(tar, options, limits);
  } catch (error) {
    if (options.signal?.aborted === true) throw options.signal.reason;
    // What tar-stream finds wrong with an archive has no code.
    throw isFault(error) ? error : faultOf(error);
  } finally {
    options.signal?.removeEventListener('abort', onAbort);
    source.destroy();
    gunzip.destroy();
    tar.destroy();
  }
}

async function readEntries(
  tar: AsyncIterable<Entry>,
  options: UnpackBundleOptions,
  limits: BundleLimits,
): Promise<BundleManifest> {
  const { folder } = options;
  let manifest: BundleManifest | undefined;
  const files = new Map<string, BundleFile>();
  const links = new Map<string, string>();
  const folders = new Set<string>();
  let bytes = 0;
  for await (const entry of tar) {
    const { name, type } = entry.header;
    if (manifest === undefined) {
      manifest = await readManifest(entry, limits);
      for (const file of manifest.files) files.set(file.path, file);
      for (const { path, target } of manifest.links) links.set(path, target);
      continue;
    }
    if (type !== 'file' && type !== 'symlink') {
      throw bundleRefused(
        'BUNDLE_ENTRY_UNSUPPORTED',
        `${JSON.stringify(name)} is a ${String(type)}; allowed are files and symbolic links`,
      );
    }
    checkBundlePath(name);
    if (type === 'symlink') {
      const target = links.get(name);
      if (target === undefined || target !== entry.header.linkname) throw unlike(name);
      links.delete(name);
      if (folder !== undefined) await makeParents(folder, name, folders);
      entry.resume();
      continue;
    }
    const file = files.get(name);
    if (file === undefined || entry.header.size !== file.sizeBytes) throw unlike(name);
    files.delete(name);
    if (folder !== undefined) await makeParents(folder, name, folders);
    await takeFile(entry, file, folder);
    bytes += file.sizeBytes;
    options.onProgress?.(bytes);
  }
  if (manifest === undefined) throw bundleRefused('BUNDLE_TRUNCATED', 'the bundle is empty');
  const [missing] = [...files.keys(), ...links.keys()];
  if (missing !== undefined) {
    throw bundleRefused('BUNDLE_FILE_WRONG', `${JSON.stringify(missing)} is in the manifest and not in the bundle`);
  }
  if (folder !== undefined) {
    for (const { path, target } of manifest.links) await symlink(target, join(folder, path));
    for (const made of folders) await syncFolder(join(folder, made));
    await syncFolder(folder);
  }
  return manifest;
}

async function readManifest(entry: Entry, limits: BundleLimits): Promise<BundleManifest> {
  const { name, type, size = 0 } = entry.header;
  if (name !== bundleManifestName || type !== 'file') {
    throw bundleRefused(
      'BUNDLE_INVALID',
      `a bundle begins with ${bundleManifestName}, not with ${JSON.stringify(name)}`,
    );
  }
  keepWithin('manifestBytesMax', size, limits);
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry) chunks.push(chunk as Uint8Array);
  return parseBundleManifest(Buffer.concat(chunks).toString('utf8'), limits);
}

async function takeFile(entry: Entry, file: BundleFile, folder: string | undefined): Promise<void> {
  const hash = createHash('sha256');
  const mode = file.executable ? 0o755 : 0o644;
  // Exclusive: it neither follows a link nor writes over a file.
  const handle = folder === undefined ? undefined : await open(join(folder, file.path), 'wx', mode);
  try {
    for await (const chunk of entry) {
      hash.update(chunk as Uint8Array);
      await handle?.writeFile(chunk as Uint8Array);
    }
    if (hash.digest('hex') !== file.sha256) throw unlike(file.path);
    await handle?.sync();
  } finally {
    await handle?.close();
  }
}

async function makeParents(folder: string, path: string, made: Set<string>): Promise<void> {
  const parent = dirname(path);
  if (parent === '.' || made.has(parent)) return;
  await mkdir(join(folder, parent), { recursive: true });
  for (let at = parent; at !== '.'; at = dirname(at)) made.add(at);
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function* counted(
  archive: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  limits: BundleLimits,
): AsyncGenerator<Uint8Array, void, void> {
  let bytes = 0;
  for await (const chunk of archive) {
    bytes += chunk.byteLength;
    keepWithin('archiveBytesMax', bytes, limits);
    yield chunk;
  }
}

function unlike(path: string): Error {
  return bundleRefused('BUNDLE_FILE_WRONG', `${JSON.stringify(path)} is not as the manifest of the bundle says`);
}

/** Codes of the file system and of a content store mean what they say. */
function isFault(error: unknown): boolean {
  return isDroverError(error) || typeof (error as NodeJS.ErrnoException).syscall === 'string';
}

function faultOf(error: unknown): Error {
  const text = messageOf(error);
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'Z_BUF_ERROR' || /unexpected end/i.test(text)) {
    return bundleRefused('BUNDLE_TRUNCATED', 'the bundle ends before it is complete');
  }
  return bundleRefused('BUNDLE_INVALID', `the bundle is no tar file compressed with gzip: ${text}`);
}
