import { isDroverError, messageOf } from '@drover/lease-kit';
import { Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';
import { imageFault } from './image-fault.ts';

/** What stands before a file in an archive; `pax` has the extended records. */
export type TarHeader = Partial<Omit<Header, 'pax'>> & {
  readonly name: string;
  readonly pax?: Readonly<Record<string, string>> | null;
};

/** One entry, whose content is read before the next one comes. */
export interface TarEntry {
  readonly header: TarHeader;
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * The entries of a tar archive (ustar, PAX, GNU) as tar-stream reads them. Throws `IMAGE_INVALID` for what is none or ends early,
 * what the bytes' source throws, and the signal's reason.
 */
export async function* tarEntries(bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<TarEntry> {
  const source = Readable.from(bytes, { objectMode: true, highWaterMark: 2 });
  const tar = extract();
  let failure: unknown;
  const fail = (error: unknown): void => {
    failure ??= error;
    tar.destroy(error as Error);
  };
  const onAbort = (): void => fail(signal.reason);
  const translate = (error: unknown): unknown => {
    if (signal.aborted) return signal.reason;
    const cause = failure ?? error;
    if (isDroverError(cause) || (cause as NodeJS.ErrnoException).code !== undefined) return cause;
    return imageFault('IMAGE_INVALID', `an archive of the image is broken: ${messageOf(cause)}`, cause);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    source.on('error', fail);
    source.pipe(tar);
    for await (const entry of tar) {
      yield { header: entry.header as TarHeader, content: translated(entry as AsyncIterable<Uint8Array>, translate) };
      // What was not read is passed over.
      entry.resume();
    }
    if (failure !== undefined) throw failure;
  } catch (error) {
    throw translate(error);
  } finally {
    signal.removeEventListener('abort', onAbort);
    source.destroy();
    tar.destroy();
  }
}

/** What is wrong with an archive may come to light in the middle of a file. */
async function* translated(
  content: AsyncIterable<Uint8Array>,
  translate: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array> {
  try {
    yield* content;
  } catch (error) {
    throw translate(error);
  }
}
