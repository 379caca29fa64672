import type { BlobPins, ContentStore, Digest } from '@drover/content-store';
import { createDigestHasher, digestOfBytes } from '@drover/content-store';
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Where the content of files goes. */
export interface InputPlace {
  readonly content: ContentStore & BlobPins;
  /** Folder for files whose digest is not known before their last byte. */
  readonly spoolFolder: string;
  /** For whom blobs are pinned. */
  readonly owner: string;
  readonly signal: AbortSignal;
}

/** Files up to so many bytes are kept in memory until their digest is known. */
const heldBytesMax = 256 * 1024;

/**
 * Takes the bytes of a file into the content store and pins them. Throws what the bytes' source throws, `BLOB_TOO_LARGE` and
 * `CONTENT_STORE_FULL`, and leaves nothing then.
 */
export async function receiveInput(
  bytes: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  place: InputPlace,
): Promise<Digest> {
  return sizeBytes <= heldBytesMax ? await receiveHeld(bytes, place) : await receiveSpooled(bytes, place);
}

async function receiveHeld(bytes: AsyncIterable<Uint8Array>, place: InputPlace): Promise<Digest> {
  const pieces: Uint8Array[] = [];
  for await (const piece of bytes) pieces.push(piece);
  const whole = Buffer.concat(pieces);
  const digest = digestOfBytes(whole);
  await place.content.write(digest, whole, place);
  await place.content.pin([digest], place);
  return digest;
}

async function receiveSpooled(bytes: AsyncIterable<Uint8Array>, place: InputPlace): Promise<Digest> {
  const path = join(place.spoolFolder, randomUUID());
  try {
    const hasher = createDigestHasher();
    const file = await open(path, 'wx', 0o600);
    try {
      for await (const piece of bytes) {
        hasher.update(piece);
        await file.writeFile(piece);
      }
    } finally {
      await file.close();
    }
    const digest = hasher.digest();
    await place.content.write(digest, (offset) => createReadStream(path, { start: offset }), place);
    await place.content.pin([digest], place);
    return digest;
  } finally {
    await rm(path, { force: true });
  }
}
