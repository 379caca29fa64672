import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { z } from 'zod';
import { imageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';
import { archiveBytesMax, compressionOf, layerBytes } from './layer-bytes.ts';
import { parseImageConfig } from './oci-manifest.ts';
import { tarEntries } from './tar-entries.ts';

/** What an archive holds. */
export type ArchiveKind =
  /** The files of a root themselves. */
  | { readonly kind: 'root' }
  /** What `docker save` made without manifests. */
  | { readonly kind: 'saved' }
  /** An OCI image layout; the digests are those of its blobs. */
  | { readonly kind: 'layout'; readonly digests: ReadonlySet<string> };

const savedShape = z.array(z.object({ Config: z.string(), Layers: z.array(z.string()).min(1).max(1_000) }));
const blobName = /^blobs\/sha256\/([0-9a-f]{64})$/;
const namesMax = 100_000;

/** Looks through an archive, packed or not. Throws `IMAGE_INVALID`, `IMAGE_TOO_LARGE`. */
export async function kindOfArchive(path: string, limits: ImageLimits, signal: AbortSignal): Promise<ArchiveKind> {
  const digests = new Set<string>();
  let isLayout = false;
  let isSaved = false;
  for await (const { header } of tarEntries(await archiveBytes(path, limits), signal)) {
    const name = posix.normalize(header.name);
    if (name === 'oci-layout') isLayout = true;
    if (name === 'manifest.json') isSaved = true;
    const [, hex] = blobName.exec(name) ?? [];
    if (hex !== undefined && digests.size < namesMax) digests.add(`sha256:${hex}`);
  }
  if (isLayout) return { kind: 'layout', digests };
  return { kind: isSaved ? 'saved' : 'root' };
}

/** Writes the blobs of an archived layout into a folder as a layout has them. */
export async function unpackLayoutArchive(
  path: string,
  folder: string,
  limits: ImageLimits,
  signal: AbortSignal,
): Promise<void> {
  await extractFiles(path, limits, signal, (name) => {
    if (name === 'oci-layout') return join(folder, name);
    const [, hex] = blobName.exec(name) ?? [];
    return hex === undefined ? undefined : join(folder, 'blobs', 'sha256', hex);
  });
}

/** Takes the layers out of what `docker save` made, in their order. Throws `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`. */
export async function layersOfSavedArchive(
  path: string,
  folder: string,
  { limits, architecture }: { readonly limits: ImageLimits; readonly architecture: string | undefined },
  signal: AbortSignal,
): Promise<readonly { readonly path: string; readonly diffId: string }[]> {
  // Names are the archive's: none of them becomes a path here.
  const fileOf = (name: string): string => join(folder, createHash('sha256').update(name).digest('hex'));
  const links = await extractFiles(path, limits, signal, fileOf);
  const find = (name: string): string => {
    const plain = posix.normalize(name);
    return fileOf(links.get(plain) ?? plain);
  };
  const parsed = savedShape.safeParse(await readJson(find('manifest.json'), limits));
  if (!parsed.success)
    throw imageFault('IMAGE_INVALID', 'manifest.json of the saved image has no list of images with Config and Layers');
  const [image, ...others] = parsed.data;
  if (image === undefined || others.length > 0) {
    throw imageFault('IMAGE_UNSUPPORTED', `the archive has ${parsed.data.length} images; save one alone`);
  }
  if (image.Layers.length > limits.layersMax)
    throw imageFault('IMAGE_TOO_LARGE', `the image has over ${limits.layersMax} layers`);
  const config = new TextEncoder().encode(JSON.stringify(await readJson(find(image.Config), limits)));
  const diffIds = parseImageConfig(config, architecture, image.Layers.length);
  return image.Layers.map((name, index) => ({ path: find(name), diffId: diffIds[index]! }));
}

/** Unpacks files of an archive to where they are wanted; answers its links by name. */
async function extractFiles(
  path: string,
  limits: ImageLimits,
  signal: AbortSignal,
  placeOf: (name: string) => string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const links = new Map<string, string>();
  let names = 0;
  for await (const { header, content } of tarEntries(await archiveBytes(path, limits), signal)) {
    if (++names > namesMax)
      throw imageFault('IMAGE_TOO_LARGE', `the archive of the image has over ${namesMax} entries`);
    const name = posix.normalize(header.name);
    if ((header.type === 'symlink' || header.type === 'link') && header.linkname) {
      // Equal layers are links to one another in what Docker saved of old.
      links.set(
        name,
        header.type === 'link' ? posix.normalize(header.linkname) : posix.join(posix.dirname(name), header.linkname),
      );
    }
    const place = header.type === 'file' ? placeOf(name) : undefined;
    if (place === undefined) continue;
    const file = await open(place, 'w', 0o600);
    try {
      for await (const chunk of content) await file.writeFile(chunk);
    } finally {
      await file.close();
    }
  }
  return links;
}

async function archiveBytes(path: string, limits: ImageLimits): Promise<AsyncIterable<Uint8Array>> {
  return layerBytes(path, await compressionOf(path), { bytesMax: archiveBytesMax(limits), ratioMax: limits.ratioMax });
}

async function readJson(path: string, { manifestBytesMax }: ImageLimits): Promise<unknown> {
  const file = await open(path, 'r').catch(() => {
    throw imageFault('IMAGE_INVALID', 'the saved image lacks a file that its manifest.json names');
  });
  try {
    if ((await file.stat()).size > manifestBytesMax)
      throw imageFault('IMAGE_TOO_LARGE', `a description of the saved image has over ${manifestBytesMax} bytes`);
    return JSON.parse(await file.readFile('utf8')) as unknown;
  } catch (error) {
    throw error instanceof SyntaxError
      ? imageFault('IMAGE_INVALID', 'a description of the saved image is no JSON')
      : error;
  } finally {
    await file.close();
  }
}
