import { imageFault } from './image-fault.ts';

/** The 64 hexadecimal digits of `sha256:…`. Throws `IMAGE_DIGEST_INVALID`: other algorithms are not taken. */
export function hexOfDigest(digest: string): string {
  const [, hex] = /^sha256:([0-9a-f]{64})$/.exec(digest) ?? [];
  if (hex === undefined) {
    throw imageFault(
      'IMAGE_DIGEST_INVALID',
      `"${digest.slice(0, 100)}" is no digest: "sha256:" and 64 lower-case hexadecimal digits are`,
    );
  }
  return hex;
}
