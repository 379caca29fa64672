import type { FileFound, FileToPut } from '@drover/vm-runtime';
import { guestError } from './guest-error.ts';
import type { GuestChannel, GuestListener } from './guest-channel.ts';
import { frameType, pathBytes, payloadBytesMax, uint32, type GuestFrame } from './guest-frames.ts';

/** Files that are on their way in at once; the agent takes 16. */
const putsMax = 8;
const windowBytes = 256 * 1024;

/** Files on their way in and out of a sandbox. */
export class GuestFiles {
  readonly #open: (listener: GuestListener) => GuestChannel;

  constructor(open: (listener: GuestListener) => GuestChannel) {
    this.#open = open;
  }

  /** Sends files one after the other; their answers are waited for behind them. */
  async put(files: AsyncIterable<FileToPut> | Iterable<FileToPut>, signal: AbortSignal): Promise<void> {
    const answers: Promise<void>[] = [];
    let failure: unknown;
    try {
      for await (const file of files) {
        signal.throwIfAborted();
        const answer = this.#putOne(file, signal);
        answer.answered.catch((error: unknown) => (failure ??= error));
        answers.push(answer.answered);
        await answer.sent;
        if (failure !== undefined) throw failure;
        if (answers.length >= putsMax) await answers.shift();
      }
      await Promise.all(answers);
    } finally {
      await Promise.allSettled(answers);
    }
  }

  #putOne(file: FileToPut, signal: AbortSignal): { readonly sent: Promise<void>; readonly answered: Promise<void> } {
    const { promise: answered, resolve, reject } = Promise.withResolvers<void>();
    const channel = this.#open({
      frame(frame) {
        channel.close();
        if (frame.type === frameType.failed) reject(guestError(frame.payload, `put ${file.path}`));
        else resolve();
      },
      gone: reject,
    });
    const send = async (): Promise<void> => {
      await channel.send(frameType.put, uint32(file.mode), pathBytes(file.path));
      const content = file.content instanceof Uint8Array ? [file.content] : file.content;
      for await (const chunk of content) {
        for (let at = 0; at < chunk.length; at += payloadBytesMax) {
          signal.throwIfAborted();
          await channel.send(frameType.putData, chunk.subarray(at, at + payloadBytesMax));
        }
      }
      await channel.send(frameType.putData);
    };
    const sent = send().catch(async (error: unknown) => {
      // The file is ended whatever it is, or the agent would keep it open.
      reject(error);
      await channel.send(frameType.putData);
      throw error;
    });
    return { sent, answered };
  }

  /** See `Sandbox.get`. */
  async *get(path: string, sizeBytesMax: number, signal: AbortSignal): AsyncGenerator<FileFound> {
    signal.throwIfAborted();
    const arriving = new ArrivingFiles(path);
    const channel = this.#open(arriving);
    const onAbort = (): void => arriving.gone(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    const grant = (bytes: number): void => void channel.send(frameType.grant, uint32(bytes));
    const size = Buffer.allocUnsafe(8);
    size.writeBigUInt64LE(BigInt(sizeBytesMax));
    let ended = false;
    try {
      void channel.send(frameType.get, size, pathBytes(path));
      grant(windowBytes);
      for (;;) {
        const frame = await arriving.next();
        if (frame === undefined) {
          ended = true;
          return;
        }
        const sizeBytes = Number(frame.payload.readBigUInt64LE(4));
        const content = new FileContent(arriving, sizeBytes, grant);
        yield { path: frame.payload.toString('utf8', 12), mode: frame.payload.readUInt32LE(0), sizeBytes, content };
        await content.drop();
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (!ended) void channel.send(frameType.cancelGet);
      channel.close();
    }
  }
}

/** The bytes of one file; what its reader leaves is dropped. */
class FileContent implements AsyncIterable<Uint8Array> {
  readonly #arriving: ArrivingFiles;
  readonly #grant: (bytes: number) => void;
  #leftBytes: number;

  constructor(arriving: ArrivingFiles, sizeBytes: number, grant: (bytes: number) => void) {
    this.#arriving = arriving;
    this.#leftBytes = sizeBytes;
    this.#grant = grant;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (this.#leftBytes > 0) {
      const frame = await this.#arriving.next();
      // The agent tells a file's size before its bytes, and fails if they are fewer.
      if (frame === undefined) return;
      this.#leftBytes -= frame.payload.length;
      this.#grant(frame.payload.length);
      yield frame.payload;
    }
  }

  async drop(): Promise<void> {
    for await (const _ of this);
  }
}

/** Frames of a `get`, in order. */
class ArrivingFiles implements GuestListener {
  readonly #path: string;
  readonly #waiting: GuestFrame[] = [];
  #asked: PromiseWithResolvers<void> | undefined;
  #failure: Error | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  frame({ type, channel, payload }: GuestFrame): void {
    if (type === frameType.failed) this.#failure = guestError(payload, `get ${this.#path}`);
    else this.#waiting.push({ type, channel, payload: Buffer.from(payload) });
    this.#asked?.resolve();
  }

  gone(error: Error): void {
    this.#failure = error;
    this.#asked?.resolve();
  }

  /** The next frame, undefined at the end. Throws what the agent, or the end of the connection, says. */
  async next(): Promise<GuestFrame | undefined> {
    for (;;) {
      const frame = this.#waiting.shift();
      if (frame !== undefined) return frame.type === frameType.done ? undefined : frame;
      if (this.#failure !== undefined) throw this.#failure;
      this.#asked = Promise.withResolvers();
      await this.#asked.promise;
    }
  }
}
