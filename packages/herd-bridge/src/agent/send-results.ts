import { digestFromWire, type ContentStore, type WireDigest } from '@drover/content-store';
import type { Logger } from '@drover/lease-kit';
import {
  fileSizeBytesMax,
  finishedBytes,
  jobEndBytes,
  jobTagBytes,
  outputEndBytes,
  outputTagBytes,
} from '../wire/index.ts';
import type { WantedOutput } from './receive-job.ts';

/** Where results go to, and come from. */
export interface ResultsDeps {
  readonly send: (bytes: Uint8Array) => Promise<void>;
  readonly content: ContentStore;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Says that a job has ended and sends the outputs that there are, in the order in which they were asked for: what a genuine client
 * waits for after every job, however it went. Throws when the connection breaks, and when a file that was announced cannot be read
 * to its end, which nothing on the wire can say.
 */
export async function sendResults(
  jobName: string,
  outputs: readonly WantedOutput[],
  found: ReadonlyMap<string, { readonly digest?: WireDigest | undefined }>,
  { send, content, logger, signal }: ResultsDeps,
): Promise<void> {
  // No client looks at the name; one that no tag could hold again is cut.
  const name = jobName.replace(/[\r\n]+/g, ' ').slice(0, 1024);
  await send(Buffer.concat([finishedBytes, jobTagBytes(name)]));
  for (const { name, path } of outputs) {
    const wire = path === undefined ? undefined : found.get(path)?.digest;
    if (wire === undefined) continue;
    const digest = digestFromWire(wire);
    if (digest.sizeBytes > fileSizeBytesMax) {
      logger.warn(
        { output: name, sizeBytes: digest.sizeBytes },
        'an output is left out: it is larger than 2,147,483,647 bytes',
      );
      continue;
    }
    const bytes = content.read(digest, { signal })[Symbol.asyncIterator]();
    try {
      // Before the tag: an output that is gone from the store can still be left out.
      const first = await bytes.next().catch((error: unknown) => error);
      if (first instanceof Error) {
        signal.throwIfAborted();
        logger.warn({ output: name, err: first }, 'an output is left out: it is not in the content store any more');
        continue;
      }
      await send(outputTagBytes(name, digest.sizeBytes));
      for (let step = first as IteratorResult<Uint8Array>; step.done !== true; step = await bytes.next()) {
        await send(step.value);
      }
      await send(outputEndBytes);
    } finally {
      await bytes.return?.();
    }
  }
  await send(jobEndBytes);
}
