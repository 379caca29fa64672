import { zstdCompressBytes } from '@drover/content-store';

/** How much of a blob's beginning is tried. */
export const compressionSampleBytes = 64 * 1024;

/** Blobs below this size gain nothing by compression. */
const sizeBytesMin = 1024;

/** `bytes` as zstd if that is shorter by at least a tenth. */
export async function compressedIfShorter(bytes: Uint8Array): Promise<Uint8Array | undefined> {
  if (bytes.byteLength < sizeBytesMin) return undefined;
  const compressed = await zstdCompressBytes(bytes);
  return compressed.byteLength <= bytes.byteLength * 0.9 ? compressed : undefined;
}

/** Whether a blob that begins like `sample` is likely to get shorter by at least a tenth. */
export async function worthCompressing(sample: Uint8Array): Promise<boolean> {
  return (await compressedIfShorter(sample)) !== undefined;
}
