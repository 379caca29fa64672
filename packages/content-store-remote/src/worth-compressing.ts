import { zstdCompressBytes } from '@drover/content-store';

/** How much of a blob's beginning is tried. */
export const compressionSampleBytes = 64 * 1024;

/** Blobs below this size gain nothing by compression. */
const sizeBytesMin = 1024;

/** Whether bytes that begin like `sample` get shorter by at least a tenth. */
export async function worthCompressing(sample: Uint8Array): Promise<boolean> {
  if (sample.byteLength < sizeBytesMin) return false;
  return (await zstdCompressBytes(sample)).byteLength <= sample.byteLength * 0.9;
}
