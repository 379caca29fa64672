import { createDigestHasher, type Digest } from '@drover/content-store';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { lstat, readdir, readlink, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { bundleRefused } from './bundle-errors.ts';
import { defaultBundleLimits, keepWithin, type BundleLimits } from './bundle-limits.ts';
import {
  bundleManifestName,
  checkBundleManifest,
  type BundleFile,
  type BundleLink,
  type BundleManifest,
} from './bundle-manifest.ts';
import { ownPlatform } from './bundle-name.ts';

/** What goes into a bundle. */
export interface BuildBundleOptions {
  /** Its files and symbolic links, all of them, become the bundle. */
  readonly folder: string;
  readonly version: string;
  /** Default: that of this machine. */
  readonly platform?: string;
  /** Path, inside `folder`, of the file that starts the agent. */
  readonly entry: string;
  /** The archive to write: a tar file, compressed with gzip. */
  readonly output: string;
  readonly limits?: Partial<BundleLimits>;
  readonly signal?: AbortSignal;
}

/** A bundle that was built. */
export interface BuiltBundle {
  readonly manifest: BundleManifest;
  readonly digest: Digest;
}

/**
 * Builds a bundle from a folder. The same folder gives the same bytes, on any machine with the same zlib. Throws
 * `BUNDLE_INVALID`, `BUNDLE_ENTRY_UNSUPPORTED`, `BUNDLE_SYMLINK_ESCAPES`, `BUNDLE_TOO_LARGE`, and what the file system
 * says. The output appears when it is complete.
 */
export async function buildBundle(options: BuildBundleOptions): Promise<BuiltBundle> {
  const limits = { ...defaultBundleLimits, ...options.limits };
  const found = await findFiles(options.folder, limits, options.signal);
  const manifest: BundleManifest = {
    format: 1,
    version: options.version,
    platform: options.platform ?? ownPlatform,
    entry: options.entry,
    ...found,
  };
  checkBundleManifest(manifest, limits);
  const started = manifest.files.find(({ path }) => path === manifest.entry)!;
  if (!started.executable && !/\.m?js$/.test(started.path)) {
    throw bundleRefused(
      'BUNDLE_INVALID',
      `the entry ${JSON.stringify(started.path)} cannot be started: allowed are programs (chmod +x) and .mjs or .js files`,
    );
  }
  const partial = `${options.output}.partial`;
  const hasher = createDigestHasher();
  const count = new Transform({
    transform(chunk: Uint8Array, _, done) {
      hasher.update(chunk);
      done(null, chunk);
    },
  });
  try {
    const archive = Readable.from(archiveOf(options.folder, manifest, limits));
    const call = options.signal === undefined ? {} : { signal: options.signal };
    await pipeline(archive, createGzip(), count, createWriteStream(partial), call);
    keepWithin('archiveBytesMax', hasher.sizeBytes, limits);
    await rename(partial, options.output);
  } finally {
    await rm(partial, { force: true });
  }
  return { manifest, digest: hasher.digest() };
}

async function findFiles(
  folder: string,
  limits: BundleLimits,
  signal: AbortSignal | undefined,
): Promise<{ files: BundleFile[]; links: BundleLink[] }> {
  const files: BundleFile[] = [];
  const links: BundleLink[] = [];
  for await (const path of pathsIn(folder, '')) {
    signal?.throwIfAborted();
    if (path === bundleManifestName) {
      throw bundleRefused('BUNDLE_INVALID', `${bundleManifestName} is made for the bundle: take it out of the folder`);
    }
    const full = join(folder, path);
    const stat = await lstat(full);
    keepWithin('filesMax', files.length + links.length + 1, limits);
    if (stat.isSymbolicLink()) links.push({ path, target: await readlink(full) });
    else if (stat.isFile()) {
      const sha256 = await sha256Of(full);
      files.push({ path, sizeBytes: stat.size, sha256, executable: (stat.mode & 0o111) !== 0 });
    } else {
      throw bundleRefused(
        'BUNDLE_ENTRY_UNSUPPORTED',
        `${JSON.stringify(path)} is neither file, folder nor symbolic link; nothing else can be in a bundle`,
      );
    }
  }
  return { files, links };
}

/** Sorted; folders are gone through and not named, links are named and not gone through. */
async function* pathsIn(folder: string, below: string): AsyncGenerator<string, void, void> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* pathsIn(folder, path);
    else yield path;
  }
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

/** The bytes of the tar file: the manifest, then the files, then the links. */
async function* archiveOf(
  folder: string,
  manifest: BundleManifest,
  limits: BundleLimits,
): AsyncGenerator<Uint8Array, void, void> {
  const tar = pack();
  const text = Buffer.from(JSON.stringify(manifest));
  keepWithin('manifestBytesMax', text.byteLength, limits);
  // What differs from build to build has no place in it.
  const plain = { mtime: new Date(0), uid: 0, gid: 0 };
  const fill = async (): Promise<void> => {
    tar.entry({ ...plain, name: bundleManifestName, mode: 0o644 }, text);
    for (const { path, sizeBytes, executable } of manifest.files) {
      const entry = tar.entry({ ...plain, name: path, size: sizeBytes, mode: executable ? 0o755 : 0o644 });
      for await (const chunk of createReadStream(join(folder, path))) {
        if (!entry.write(chunk as Uint8Array)) await once(entry, 'drain');
      }
      entry.end(undefined);
    }
    for (const { path, target } of manifest.links) {
      tar.entry({ ...plain, name: path, type: 'symlink', linkname: target, size: 0 });
    }
    tar.finalize();
  };
  fill().catch((error: unknown) => tar.destroy(error as Error));
  for await (const chunk of tar) yield chunk as Uint8Array;
}
