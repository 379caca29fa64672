import type { Any } from '@bufbuild/protobuf/wkt';
import type { ContentStore } from '@drover/content-store';
import type { Logger } from '@drover/lease-kit';
import { resolvePayload } from '@drover/task-sources';

/** Bytes of outputs in one answer; what is beyond is left out. */
export const outputBytesMax = 2 * 1024 * 1024;

/** What reading an output works with. */
export interface ReadOutputDeps {
  /** Absent: outputs are never references. */
  readonly blobs?: Pick<ContentStore, 'read'>;
  readonly logger: Logger;
}

/** The output of a lease itself, where the store may have a reference to it; undefined if that leads nowhere. */
export async function readOutput(
  output: Any,
  leaseId: string,
  { blobs, logger }: ReadOutputDeps,
  signal?: AbortSignal,
): Promise<Any | undefined> {
  if (blobs === undefined) return output;
  try {
    return await resolvePayload(output, blobs, signal);
  } catch (error) {
    logger.warn({ err: error, leaseId }, 'an output cannot be read from the content store');
    return undefined;
  }
}
