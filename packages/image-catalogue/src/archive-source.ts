import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { defaultImageLimits, type ImageLimits } from './image-limits.ts';
import type { ImageContent, ImageSource, ImageSourceContext } from './image-source.ts';
import type { ImageWanted } from './image-catalogue.ts';
import { createLayoutSource } from './layout-source.ts';
import { kindOfArchive, unpackLayoutArchive, type ArchiveKind } from './saved-archive.ts';

/** Where archives are. */
export interface ArchiveSourceOptions {
  /** Every `*.tar`, `*.tar.gz`, `*.tgz` and `*.tar.zst` in it is an image; they may come and go. At most 1,000. */
  readonly folder: string;
  readonly limits?: Partial<ImageLimits>;
}

interface Known {
  readonly stamp: string;
  readonly digest: string;
  readonly content: ArchiveKind;
}

const archivesMax = 1_000;

/**
 * Images in tar archives. An OCI archive's have the digests of its indexes and manifests. An archive without manifests (the files
 * of a root, or what `docker save` made before Docker 25) is one image whose digest is the SHA-256 of the archive file as it is.
 * Each file is looked through once, and again when it has changed.
 */
export function createArchiveSource({ folder, limits }: ArchiveSourceOptions): ImageSource {
  return new ArchiveSource(folder, { ...defaultImageLimits, ...limits });
}

class ArchiveSource implements ImageSource {
  readonly name: string;
  readonly #folder: string;
  readonly #limits: ImageLimits;
  readonly #known = new Map<string, Known>();

  constructor(folder: string, limits: ImageLimits) {
    this.name = `archives in ${folder}`;
    this.#folder = folder;
    this.#limits = limits;
  }

  async open({ digest }: ImageWanted, context: ImageSourceContext): Promise<ImageContent | undefined> {
    const names = (await readdir(this.#folder).catch(() => [])).filter((name) =>
      /\.(tar|tgz|tar\.gz|tar\.zst)$/.test(name),
    );
    for (const name of this.#known.keys()) if (!names.includes(name)) this.#known.delete(name);
    let failure: unknown;
    for (const name of names.sort().slice(0, archivesMax)) {
      let known: Known;
      try {
        known = await this.#lookThrough(name, context.signal);
      } catch (error) {
        context.signal.throwIfAborted();
        // One broken archive does not hide the others.
        failure ??= error;
        continue;
      }
      if (known.content.kind === 'layout' && known.content.digests.has(digest))
        return this.#layoutOf(name, { digest }, context);
      if (known.content.kind !== 'layout' && known.digest === digest)
        return new ArchiveContent(join(this.#folder, name));
    }
    if (failure !== undefined) throw failure;
    return undefined;
  }

  async #layoutOf(name: string, wanted: ImageWanted, context: ImageSourceContext): Promise<ImageContent | undefined> {
    const layout = join(context.scratchDir, 'layout');
    await mkdir(join(layout, 'blobs', 'sha256'), { recursive: true, mode: 0o700 });
    await unpackLayoutArchive(join(this.#folder, name), layout, this.#limits, context.signal);
    return createLayoutSource({ folder: layout }).open(wanted, context);
  }

  async #lookThrough(name: string, signal: AbortSignal): Promise<Known> {
    const path = join(this.#folder, name);
    const { size, mtimeMs, ino } = await stat(path);
    const stamp = `${size} ${mtimeMs} ${ino}`;
    const known = this.#known.get(name);
    if (known?.stamp === stamp) return known;
    const hash = createHash('sha256');
    await pipeline(createReadStream(path, { highWaterMark: 256 * 1024 }), hash, { signal });
    const content = await kindOfArchive(path, this.#limits, signal);
    const found: Known = { stamp, digest: `sha256:${hash.digest('hex')}`, content };
    this.#known.set(name, found);
    return found;
  }
}

class ArchiveContent implements ImageContent {
  readonly form = 'archive';
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  read(_: unknown, fromByte: number, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return createReadStream(this.#path, { start: fromByte, highWaterMark: 256 * 1024, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Nothing is open between reads.
  }
}
