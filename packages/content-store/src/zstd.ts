import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { collectBytes } from './byte-source.ts';
import { cutAtZstdFrameEnds } from './zstd-frame-ends.ts';

/**
 * True if this Node has zstd (from 22.15 and 23.8). Without it, nothing here may be called: servers do not offer zstd
 * and clients do not ask for it.
 */
export const zstdAvailable = typeof zlib.createZstdCompress === 'function';

/** Level of what is compressed for the wire: the fastest, as links inside a site are fast. */
const wireLevel = 1;
/** A sender may make us keep this much of a stream at most (RFC 8878 asks for at least 8 MiB). */
const windowLogMax = 24;

const compressParams = (): zlib.ZstdOptions => ({ params: { [zlib.constants.ZSTD_c_compressionLevel]: wireLevel } });
const decompressParams = (): zlib.ZstdOptions => ({ params: { [zlib.constants.ZSTD_d_windowLogMax]: windowLogMax } });

/** One zstd frame with everything that `source` yields. Ending the iteration early ends the source. */
export function zstdCompressed(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return through(source, () => zlib.createZstdCompress(compressParams()));
}

/**
 * What the zstd frames in `source` hold. Rejects with a zlib error if they are broken or incomplete. The caller bounds
 * what it takes: a small input may yield very much.
 */
export function zstdDecompressed(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return through(cutAtZstdFrameEnds(source), () => zlib.createZstdDecompress(decompressParams()));
}

/** `bytes` as one zstd frame. */
export function zstdCompressBytes(bytes: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // Told the size, zstd takes a context that fits, which is several times faster for small blobs.
    const options = { ...compressParams(), pledgedSrcSize: bytes.byteLength };
    zlib.zstdCompress(bytes, options, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

/** What the zstd frames in `bytes` hold. Rejects with a zlib error if broken, a `RangeError` if above `sizeBytesMax`. */
export function zstdDecompressBytes(bytes: Uint8Array, sizeBytesMax: number): Promise<Uint8Array> {
  // By the stream, as the one-shot call of zlib stops after the first frame and ignores what follows.
  return collectBytes(zstdDecompressed(oneChunk(bytes)), sizeBytesMax);
}

/** True for an error of zlib itself: the bytes are broken, as opposed to a source that failed. */
export function isZstdError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return code.startsWith('ZSTD_') || code.startsWith('Z_');
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  createTransform: () => zlib.ZstdCompress | zlib.ZstdDecompress,
): AsyncGenerator<Uint8Array> {
  const transform = createTransform();
  const feeding = pipeline(source, transform);
  // Its failure reaches the reader through the transform, which the pipeline destroys with it.
  feeding.catch(() => undefined);
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
    await feeding;
  } finally {
    transform.destroy();
  }
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
