import { delay, isDroverError, isRetryable, messageOf, type Clock } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';
import type { ImageContent } from './image-source.ts';

/** What is read, and how much of it. */
export interface ContentToReceive {
  readonly digest: string;
  readonly kind: 'manifest' | 'blob';
  /** What was said of it; absent: not known. */
  readonly sizeBytes?: number | undefined;
  readonly sizeBytesMax: number;
}

/** What receiving works with. */
export interface ReceiveDeps {
  readonly content: ImageContent;
  readonly clock: Clock;
  readonly stalledMsMax: number;
  readonly signal: AbortSignal;
}

/** Tries that bring no byte, one after the other. */
const fruitlessMax = 5;
const firstPauseMs = 200;
const pauseMsMax = 5_000;

/** Reads small content into memory; as {@link receiveFile}. */
export async function receiveBytes(wanted: ContentToReceive, deps: ReceiveDeps): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  await receive(wanted, deps, async (chunk) => void chunks.push(chunk));
  return Buffer.concat(chunks);
}

/**
 * Writes content into a new file; resolves when it is whole and what its digest says. What is cut goes on where it was cut. Throws
 * `IMAGE_DIGEST_WRONG`, `IMAGE_TOO_LARGE`, `IMAGE_SOURCE_UNAVAILABLE` after several tries that bring nothing, and what the
 * source throws.
 */
export async function receiveFile(wanted: ContentToReceive, path: string, deps: ReceiveDeps): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await receive(wanted, deps, (chunk) => file.writeFile(chunk));
  } finally {
    await file.close();
  }
}

async function receive(
  wanted: ContentToReceive,
  deps: ReceiveDeps,
  write: (chunk: Uint8Array) => Promise<void>,
): Promise<void> {
  const { digest, sizeBytes, sizeBytesMax } = wanted;
  const hex = hexOfDigest(digest);
  const hash = createHash('sha256');
  if (sizeBytes !== undefined && sizeBytes > sizeBytesMax) {
    throw imageFault('IMAGE_TOO_LARGE', `${digest} has ${sizeBytes} bytes; ${sizeBytesMax} are allowed`);
  }
  let received = 0;
  for (let fruitless = 0; ;) {
    const before = received;
    let failure: unknown;
    try {
      for await (const chunk of withoutStall(wanted, received, deps)) {
        received += chunk.byteLength;
        if (sizeBytes !== undefined && received > sizeBytes)
          throw wrong(`it has over the ${sizeBytes} bytes that its manifest names`, digest);
        if (received > sizeBytesMax) throw imageFault('IMAGE_TOO_LARGE', `${digest} has over ${sizeBytesMax} bytes`);
        hash.update(chunk);
        await write(chunk);
      }
      if (sizeBytes === undefined || received === sizeBytes) break;
      failure = imageFault('IMAGE_SOURCE_UNAVAILABLE', `${digest} ended after ${received} of ${sizeBytes} bytes`);
    } catch (error) {
      deps.signal.throwIfAborted();
      if (!isRetryable(error)) throw error;
      failure = error;
    }
    fruitless = received > before ? 1 : fruitless + 1;
    if (fruitless >= fruitlessMax) throw failure;
    await delay(deps.clock, Math.min(firstPauseMs * 2 ** fruitless, pauseMsMax), deps.signal);
    deps.signal.throwIfAborted();
  }
  if (hash.digest('hex') !== hex) throw wrong('its bytes have another digest', digest);
}

/** Ends with `IMAGE_SOURCE_UNAVAILABLE` when no byte comes for too long. */
async function* withoutStall(
  { digest, kind }: ContentToReceive,
  fromByte: number,
  { content, clock, stalledMsMax, signal }: ReceiveDeps,
): AsyncGenerator<Uint8Array> {
  const stalled = new AbortController();
  const watch = () =>
    clock.schedule(stalledMsMax, () =>
      stalled.abort(imageFault('IMAGE_SOURCE_UNAVAILABLE', `no byte of ${digest} came for ${stalledMsMax} ms`)),
    );
  let timer = watch();
  try {
    for await (const chunk of content.read({ digest, kind }, fromByte, AbortSignal.any([signal, stalled.signal]))) {
      timer.cancel();
      yield chunk;
      timer = watch();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (stalled.signal.aborted) throw stalled.signal.reason;
    throw isDroverError(error)
      ? error
      : imageFault('IMAGE_SOURCE_UNAVAILABLE', `${digest} cannot be read: ${messageOf(error)}`, error);
  } finally {
    timer.cancel();
  }
}

function wrong(what: string, digest: string): Error {
  return imageFault('IMAGE_DIGEST_WRONG', `the source gives something else for ${digest}: ${what}`);
}
