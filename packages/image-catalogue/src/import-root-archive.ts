import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { imageFault } from './image-fault.ts';
import { archiveBytesMax, compressionOf, layerBytes } from './layer-bytes.ts';
import { defaultImageLimits } from './image-limits.ts';
import { imageArchitecture } from './oci-manifest.ts';

/** What becomes an image. */
export interface ImportRootArchiveOptions {
  /** A tar archive of the files of a root, e.g. what mmdebstrap(1) made; packed by gzip or zstd, or not. */
  readonly archive: string;
  /** An OCI image layout; made if it is not there. */
  readonly layoutFolder: string;
  /** What programs are for in it; default: this machine's processor. */
  readonly architecture?: 'amd64' | 'arm64' | undefined;
  /** Names it in the layout's index, for people; absent: no name. */
  readonly name?: string | undefined;
}

/** An image that was made. */
export interface ImportedImage {
  /** The manifest's: what callers ask for. */
  readonly digest: string;
  /** In the layout. */
  readonly sizeBytes: number;
}

const layerTypes = { none: '', gzip: '+gzip', zstd: '+zstd' } as const;

/**
 * Makes an image of one layer of the files of a root, and puts it into a layout, beside those that are there. The same archive
 * gives the same digest. Throws `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`; an abort, its reason.
 */
export async function importRootArchive(
  options: ImportRootArchiveOptions,
  signal: AbortSignal,
): Promise<ImportedImage> {
  const { archive, layoutFolder, architecture = imageArchitecture, name } = options;
  if (architecture === undefined)
    throw imageFault('IMAGE_UNSUPPORTED', 'name the processor that the image is for: amd64 or arm64');
  const blobs = join(layoutFolder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });
  const compression = await compressionOf(archive);
  const staged = join(blobs, `.new-${randomUUID()}`);
  const hash = createHash('sha256');
  try {
    await pipeline(
      createReadStream(archive),
      async function* (source) {
        for await (const chunk of source) {
          hash.update(chunk as Uint8Array);
          yield chunk as Uint8Array;
        }
      },
      createWriteStream(staged),
      { signal },
    );
    const unpacked = createHash('sha256');
    const bounds = { bytesMax: archiveBytesMax(defaultImageLimits), ratioMax: defaultImageLimits.ratioMax };
    for await (const chunk of layerBytes(staged, compression, bounds)) unpacked.update(chunk);
    const layer = {
      mediaType: `application/vnd.oci.image.layer.v1.tar${layerTypes[compression]}`,
      digest: `sha256:${hash.digest('hex')}`,
      size: (await stat(staged)).size,
    };
    await rename(staged, join(blobs, layer.digest.slice('sha256:'.length)));
    const config = await putJson(blobs, 'application/vnd.oci.image.config.v1+json', {
      architecture,
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: [`sha256:${unpacked.digest('hex')}`] },
    });
    const mediaType = 'application/vnd.oci.image.manifest.v1+json';
    const manifest = await putJson(blobs, mediaType, { schemaVersion: 2, mediaType, config, layers: [layer] });
    await addToIndex(layoutFolder, {
      ...manifest,
      platform: { os: 'linux', architecture },
      ...(name === undefined ? {} : { annotations: { 'org.opencontainers.image.ref.name': name } }),
    });
    return { digest: manifest.digest, sizeBytes: layer.size + config.size + manifest.size };
  } finally {
    await rm(staged, { force: true });
  }
}

interface IndexEntry extends NamedBlob {
  readonly platform: { readonly os: string; readonly architecture: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

interface NamedBlob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

async function putJson(blobs: string, mediaType: string, value: unknown): Promise<NamedBlob> {
  const text = JSON.stringify(value);
  const hex = createHash('sha256').update(text).digest('hex');
  await replaceFile(join(blobs, hex), text);
  return { mediaType, digest: `sha256:${hex}`, size: Buffer.byteLength(text) };
}

async function addToIndex(layoutFolder: string, entry: IndexEntry): Promise<void> {
  const path = join(layoutFolder, 'index.json');
  let manifests: readonly NamedBlob[] = [];
  try {
    const found = JSON.parse(await readFile(path, 'utf8')) as { readonly manifests?: readonly NamedBlob[] };
    manifests = found.manifests ?? [];
  } catch (error) {
    if (error instanceof SyntaxError) throw imageFault('IMAGE_INVALID', `${path} is no JSON`);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  await replaceFile(join(layoutFolder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const others = manifests.filter(({ digest }) => digest !== entry.digest);
  await replaceFile(path, JSON.stringify({ schemaVersion: 2, manifests: [...others, entry] }));
}

async function replaceFile(path: string, text: string): Promise<void> {
  const staged = `${path}.${randomUUID()}`;
  await writeFile(staged, text);
  await rename(staged, path);
}
