import { createBLAKE3 } from 'hash-wasm';

const shared = await createBLAKE3();

/** Bytes that come one after the other. */
export interface Blake3 {
  update(bytes: Uint8Array | string): void;
  /** 32 bytes. */
  digest(): Uint8Array;
}

/** A BLAKE3 of its own, for what comes in pieces. */
export async function createBlake3(): Promise<Blake3> {
  const hasher = await createBLAKE3();
  hasher.init();
  return { update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest('binary') };
}

/** BLAKE3 of parts that follow each other, 32 bytes. */
export function blake3Of(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  shared.init();
  for (const part of parts) shared.update(part);
  return shared.digest('binary');
}
