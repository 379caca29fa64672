import { isDroverError, type Clock, type Logger } from '@drover/lease-kit';
import type { UnpackedImage } from '@drover/vm-runtime';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageWanted } from './image-catalogue.ts';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';
import type { ImageContent, ImageSource } from './image-source.ts';
import { ImageTree } from './image-tree.ts';
import { archiveBytesMax, compressionOf, layerBytes, type Compression } from './layer-bytes.ts';
import { parseImageConfig, parseManifest, type Descriptor } from './oci-manifest.ts';
import { receiveBytes, receiveFile, type ContentToReceive } from './receive-content.ts';
import { kindOfArchive, layersOfSavedArchive } from './saved-archive.ts';

/** What a pull works with. */
export interface PullDeps {
  readonly sources: readonly ImageSource[];
  readonly limits: ImageLimits;
  readonly architecture: string | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told before so many bytes more are written; may wait for room, and throw. */
  readonly onBytes: (bytes: number) => Promise<void>;
}

/** Indexes that name one another, and the manifest. */
const manifestsMax = 4;

/**
 * Gets an image from the first source that has it, checks each byte by its digest, and unpacks it into `folder`/root. What it
 * leaves in the folder when it throws is for the caller to remove. Throws the codes of `ImageCatalogue.ensure`.
 */
export async function pullImage(
  wanted: ImageWanted,
  folder: string,
  deps: PullDeps,
  signal: AbortSignal,
): Promise<UnpackedImage> {
  let failure: unknown;
  for (const [index, source] of deps.sources.entries()) {
    const scratchDir = join(folder, `source-${index}`);
    await mkdir(scratchDir, { mode: 0o700 });
    try {
      const content = await source.open(wanted, { scratchDir, signal });
      if (content === undefined) continue;
      try {
        const root = join(folder, 'root');
        await rm(root, { recursive: true, force: true });
        await mkdir(root, { mode: 0o755 });
        return await new Pull(content, scratchDir, deps, signal).unpack(wanted.digest, root);
      } finally {
        await content[Symbol.asyncDispose]();
      }
    } catch (error) {
      signal.throwIfAborted();
      deps.logger.warn({ image: wanted.digest, source: source.name, err: error }, 'an image is not had from a source');
      // What a source says of an image tells more than that another has none.
      if (failure === undefined || isDroverError(failure, 'IMAGE_NOT_FOUND')) failure = error;
    } finally {
      await rm(scratchDir, { recursive: true, force: true });
    }
  }
  throw (
    failure ??
    imageFault(
      'IMAGE_NOT_FOUND',
      `no source has the image ${wanted.digest}${wanted.reference === undefined ? ', and no reference to a registry was given' : ` (${wanted.reference})`}`,
    )
  );
}

interface FileLayer {
  readonly path: string;
  readonly compression: Compression;
  readonly diffId?: string | undefined;
}

class Pull {
  readonly #content: ImageContent;
  readonly #folder: string;
  readonly #deps: PullDeps;
  readonly #signal: AbortSignal;
  #leftBytes: number;

  constructor(content: ImageContent, folder: string, deps: PullDeps, signal: AbortSignal) {
    this.#content = content;
    this.#folder = folder;
    this.#deps = deps;
    this.#signal = signal;
    this.#leftBytes = deps.limits.downloadBytesMax;
  }

  async unpack(digest: string, root: string): Promise<UnpackedImage> {
    const { limits, onBytes } = this.#deps;
    const tree = new ImageTree({ folder: root, limits, onBytes });
    for await (const { path, ...layer } of this.#content.form === 'manifest'
      ? this.#manifestLayers(digest)
      : this.#archiveLayers(digest)) {
      const bounds = { bytesMax: archiveBytesMax(limits), ratioMax: limits.ratioMax, diffId: layer.diffId };
      await tree.add(layerBytes(path, layer.compression, bounds), this.#signal);
    }
    return { digest, folder: root, ...tree.finish() };
  }

  async *#manifestLayers(digest: string): AsyncGenerator<FileLayer> {
    const { limits, architecture } = this.#deps;
    let wanted: Pick<Descriptor, 'digest'> & Partial<Descriptor> = { digest };
    for (let depth = 0; depth < manifestsMax; depth++) {
      const manifest = parseManifest(await this.#bytes(wanted, 'manifest'), architecture, limits.layersMax);
      if (manifest.kind === 'index') {
        wanted = manifest.chosen;
        continue;
      }
      const { config, layers } = manifest;
      const diffIds = parseImageConfig(await this.#bytes(config, 'blob'), architecture, layers.length);
      for (const [index, layer] of layers.entries()) {
        const path = join(this.#folder, `layer-${index}`);
        await this.#file({ digest: layer.digest, kind: 'blob', sizeBytes: layer.size }, path);
        yield { path, compression: layer.compression, diffId: diffIds[index] };
        await rm(path);
      }
      return;
    }
    throw imageFault(
      'IMAGE_INVALID',
      `the image ${digest} has indexes of indexes: at most ${manifestsMax - 1} are followed`,
    );
  }

  async *#archiveLayers(digest: string): AsyncGenerator<FileLayer> {
    const { limits, architecture } = this.#deps;
    const path = join(this.#folder, 'archive');
    await this.#file({ digest, kind: 'blob' }, path);
    const { kind } = await kindOfArchive(path, limits, this.#signal);
    if (kind === 'root') {
      yield { path, compression: await compressionOf(path) };
    } else if (kind === 'saved') {
      const layersDir = join(this.#folder, 'layers');
      await mkdir(layersDir, { mode: 0o700 });
      const layers = await layersOfSavedArchive(path, layersDir, { limits, architecture }, this.#signal);
      await rm(path);
      for (const layer of layers) yield { ...layer, compression: await compressionOf(layer.path) };
    } else {
      throw imageFault(
        'IMAGE_INVALID',
        `the archive ${digest} is a layout: ask for the digest of one of its manifests`,
      );
    }
  }

  async #bytes(
    { digest, size }: Pick<Descriptor, 'digest'> & Partial<Descriptor>,
    kind: 'manifest' | 'blob',
  ): Promise<Uint8Array> {
    return receiveBytes(
      { digest, kind, sizeBytes: size, sizeBytesMax: this.#deps.limits.manifestBytesMax },
      this.#receiving,
    );
  }

  async #file(wanted: Omit<ContentToReceive, 'sizeBytesMax'>, path: string): Promise<void> {
    hexOfDigest(wanted.digest);
    if (wanted.sizeBytes !== undefined) await this.#deps.onBytes(wanted.sizeBytes);
    await receiveFile({ ...wanted, sizeBytesMax: this.#leftBytes }, path, this.#receiving);
    this.#leftBytes -= wanted.sizeBytes ?? 0;
  }

  get #receiving() {
    const { clock, limits } = this.#deps;
    return { content: this.#content, clock, stalledMsMax: limits.stalledMsMax, signal: this.#signal };
  }
}
