import { isDroverError, messageOf, type DroverError } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline, type Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import { imageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';

/** How the bytes of a layer are packed. */
export type Compression = 'none' | 'gzip' | 'zstd';

const chunkSize = 256 * 1024;
const ratioFromBytes = 16 * 1024 * 1024;

/** What a file is packed with, by its first bytes. */
export async function compressionOf(path: string): Promise<Compression> {
  const file = await open(path, 'r');
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    if (buffer[0] === 0x1f && buffer[1] === 0x8b) return 'gzip';
    return buffer.readUInt32LE(0) === 0xfd2fb528 ? 'zstd' : 'none';
  } finally {
    await file.close();
  }
}

/**
 * The unpacked bytes of a file. With `diffId`, they are checked against it at the end. Throws `IMAGE_TOO_LARGE` as soon as they
 * are too many for what they come from, `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`.
 */
export async function* layerBytes(
  path: string,
  compression: Compression,
  bounds: { readonly bytesMax: number; readonly ratioMax: number; readonly diffId?: string | undefined },
): AsyncGenerator<Uint8Array> {
  const source = createReadStream(path, { highWaterMark: chunkSize });
  const unpacking = compression === 'none' ? undefined : pipeline(source, unpackerOf(compression), () => undefined);
  const hash = bounds.diffId === undefined ? undefined : createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of unpacking ?? source) {
      bytes += (chunk as Uint8Array).byteLength;
      if (bytes > bounds.bytesMax) throw tooLarge(`unpacks to over ${bounds.bytesMax} bytes`);
      if (unpacking !== undefined && bytes > ratioFromBytes && bytes > source.bytesRead * bounds.ratioMax) {
        throw tooLarge(`unpacks to over ${bounds.ratioMax} times its size`);
      }
      hash?.update(chunk as Uint8Array);
      yield chunk as Uint8Array;
    }
  } catch (error) {
    throw isDroverError(error)
      ? error
      : imageFault('IMAGE_INVALID', `a layer of the image cannot be unpacked: ${messageOf(error)}`, error);
  } finally {
    source.destroy();
    unpacking?.destroy();
  }
  if (hash !== undefined && `sha256:${hash.digest('hex')}` !== bounds.diffId) {
    throw imageFault(
      'IMAGE_DIGEST_WRONG',
      `a layer of the image unpacks to other bytes than its configuration names: ${bounds.diffId}`,
    );
  }
}

/** A bound of tar archives beside that of their content: headers, padding, the end. */
export function archiveBytesMax(limits: ImageLimits): number {
  return limits.unpackedBytesMax + limits.namesBytesMax + limits.entriesMax * 2_048 + 1024 * 1024;
}

function unpackerOf(compression: 'gzip' | 'zstd'): Transform {
  if (compression === 'gzip') return zlib.createGunzip({ chunkSize });
  // Node has it since 22.15.
  if (typeof zlib.createZstdDecompress !== 'function') {
    throw imageFault('IMAGE_UNSUPPORTED', `layers packed by zstd need Node 22.15 or later; this is ${process.version}`);
  }
  return zlib.createZstdDecompress({ chunkSize });
}

function tooLarge(what: string): DroverError {
  return imageFault('IMAGE_TOO_LARGE', `a layer of the image ${what}, which is not allowed`);
}
