import { DroverError } from '@drover/lease-kit';
import type { PreparedImage, SandboxDriver, UnpackedImage } from '@drover/vm-runtime';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pack, type Header } from 'tar-stream';
import { gzipSync } from 'node:zlib';
import { imageArchitecture } from './oci-manifest.ts';

/** A folder that is gone with it. */
export class TestFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'drover-images-'));

  at(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** An entry of an archive, also of one that nobody should make. */
export type RawEntry = Omit<Partial<Header>, 'pax'> & {
  readonly name: string;
  readonly text?: string | Buffer;
  readonly pax?: Record<string, string>;
};

/** A tar archive of these entries, whatever they are. */
export async function tarOf(entries: readonly RawEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { text = '', ...header } of entries) {
    const hasContent = header.type === undefined || header.type === 'file' || header.type === 'contiguous-file';
    if (hasContent) tar.entry(header as Header, text as string);
    else tar.entry({ ...header, size: 0 } as Header);
  }
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** The blobs of an image, by digest. */
export interface TestImage {
  readonly digest: string;
  readonly blobs: ReadonlyMap<string, Buffer>;
  readonly manifest: Buffer;
}

const manifestType = 'application/vnd.oci.image.manifest.v1+json';

/** An image of these layers; `change` may make it what it should not be. */
export function imageOf(
  layers: readonly Buffer[],
  change: (manifest: Record<string, unknown>) => void = () => undefined,
): TestImage {
  const blobs = new Map<string, Buffer>();
  const put = (bytes: Buffer, mediaType: string) => {
    blobs.set(digestOf(bytes), bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
  };
  const config = {
    os: 'linux',
    architecture: imageArchitecture,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => digestOf(layer)) },
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: put(Buffer.from(JSON.stringify(config)), 'application/vnd.oci.image.config.v1+json'),
    layers: layers.map((layer) => put(gzipSync(layer), 'application/vnd.oci.image.layer.v1.tar+gzip')),
  };
  change(manifest);
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { digest: put(bytes, manifestType).digest, blobs, manifest: bytes };
}

/** Writes an image into a layout's folder. */
export function writeLayout(folder: string, { blobs }: TestImage): void {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  for (const [digest, bytes] of blobs) writeFileSync(join(folder, 'blobs/sha256', digest.slice(7)), bytes);
}

/** A driver that makes nothing of images but remembers them. */
export class RememberingDriver implements SandboxDriver {
  readonly name = 'remembering';
  readonly isolation = { level: 'none', driver: 'remembering', facts: {} } as const;
  readonly imageForm: 'folder' | 'none' = 'folder';
  readonly snapshots = false;
  readonly images = new Map<string, UnpackedImage>();
  readonly inUse = new Set<string>();
  prepared = 0;

  async prepareImage(image: UnpackedImage): Promise<PreparedImage> {
    this.prepared += 1;
    this.images.set(image.digest, image);
    return { digest: image.digest, driver: this.name, sizeBytes: 0 };
  }

  async removeImage(digest: string): Promise<void> {
    if (this.inUse.has(digest)) throw new DroverError({ code: 'IMAGE_IN_USE', advice: 'conflict', message: 'in use' });
    this.images.delete(digest);
  }

  async start(): Promise<never> {
    throw new Error('it starts nothing');
  }

  async recover(): Promise<readonly []> {
    return [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.images.clear();
  }
}
