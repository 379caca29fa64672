import { randomUUID } from 'node:crypto';
import { bytesFrom } from './byte-source.ts';
import type { BlobUploads } from './blob-uploads.ts';
import type { ByteSource, CallOptions } from './content-store.ts';
import type { Digest } from './digest.ts';

/**
 * Does what `ContentStore.write` promises by way of an upload that nobody resumes: for those who implement a store with
 * {@link BlobUploads}. The caller has checked that the blob is not there.
 */
export async function writeThroughUpload(
  uploads: BlobUploads,
  digest: Digest,
  source: ByteSource,
  options: CallOptions = {},
): Promise<void> {
  const upload = await uploads.openUpload(`write:${randomUUID()}`, digest, options);
  try {
    for await (const chunk of bytesFrom(source, options.signal)) await upload.append(chunk);
    options.signal?.throwIfAborted();
    await upload.commit();
  } catch (error) {
    await upload.discard();
    throw error;
  }
}
