import { createCipheriv } from 'node:crypto';

/** Bytes that do not compress, the same for the same size and seed. */
export function sampleBytes(sizeBytes: number, seed = 0): Uint8Array {
  const iv = Buffer.alloc(16);
  iv.writeUInt32BE(seed >>> 0);
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), iv).update(Buffer.alloc(sizeBytes));
}

/** Bytes that compress well, the same for the same size and seed. */
export function sampleText(sizeBytes: number, seed = 0): Uint8Array {
  const line = `${seed}: a line of a log that says much the same as the one before it\n`;
  return Buffer.alloc(sizeBytes, line);
}
