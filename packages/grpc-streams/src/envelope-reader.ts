import type { Http2Stream } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { envelopePrefixSizeBytes } from './envelope.ts';

/** Envelopes that wait for a slow reader before the stream is paused; the rest stays under flow control. */
const waitingMax = 16;
/** Pieces of one message before they are put together early. */
const piecesMax = 1_024;

/** How an {@link EnvelopeReader} reads. */
export interface EnvelopeReaderOptions<T> {
  /** Longest message; a longer one fails the reader with `resource_exhausted`. */
  readonly sizeBytesMax: number;
  /** Throws for bytes that are no such message, which becomes `invalid_argument`. */
  readonly parse: (payload: Uint8Array) => T;
  /** Asked when the other end has said everything: an error with which the messages end, e.g. that of a trailer. */
  readonly verdict?: () => Error | undefined;
  /** Told when what arrives breaks a rule: nothing more is read, and the stream is the caller's to end. */
  readonly onViolation?: (error: ConnectError) => void;
}

/**
 * The gRPC messages that arrive on an HTTP/2 stream, one after the other: the length-prefixed framing of
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md without compression. It holds next to nothing while
 * nothing arrives, which async generators over the stream do not. One `next` at a time.
 */
export class EnvelopeReader<T> implements AsyncIterableIterator<T> {
  readonly #stream: Http2Stream;
  readonly #options: EnvelopeReaderOptions<T>;
  /** Bytes of an envelope that is not complete, as they came. */
  #partial: Buffer[] = [];
  #partialBytes = 0;
  /** So many bytes make it complete, or show how many do. */
  #neededBytes = envelopePrefixSizeBytes;
  #waiting: Uint8Array[] = [];
  #asked: { resolve: (result: IteratorResult<T>) => void; reject: (reason: unknown) => void } | undefined;
  #ended = false;
  #failure: Error | undefined;

  constructor(stream: Http2Stream, options: EnvelopeReaderOptions<T>) {
    this.#stream = stream;
    this.#options = options;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('end', () => this.#end());
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      this.#answer();
    });
  }

  /** Nobody wants more: what still comes is read and dropped. */
  return(): Promise<IteratorResult<T>> {
    this.#ended = true;
    this.#waiting = [];
    this.#partial = [];
    this.#stream.resume();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends the messages with an error, behind those that have arrived. The first end counts. */
  fail(reason: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = reason;
    this.#answer();
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    this.#partialBytes += chunk.length;
    // Put together once, when all of it is there: a long message comes in very many pieces.
    if (this.#partialBytes < this.#neededBytes) {
      // Each piece costs more than its bytes: somebody may send them one by one.
      if (this.#partial.push(chunk) >= piecesMax) this.#partial = [Buffer.concat(this.#partial)];
      return;
    }
    let bytes = this.#partial.length === 0 ? chunk : Buffer.concat([...this.#partial, chunk], this.#partialBytes);
    this.#partial = [];
    this.#neededBytes = envelopePrefixSizeBytes;
    while (bytes.length >= envelopePrefixSizeBytes) {
      const size = bytes.readUInt32BE(1);
      if (bytes[0] !== 0) {
        return this.#violated(protocolError('a compressed or unknown envelope without grpc-encoding'));
      }
      if (size > this.#options.sizeBytesMax) {
        const message = `message size ${size} is larger than configured readMaxBytes ${this.#options.sizeBytesMax}`;
        return this.#violated(new ConnectError(message, Code.ResourceExhausted));
      }
      if (bytes.length < envelopePrefixSizeBytes + size) {
        this.#neededBytes = envelopePrefixSizeBytes + size;
        break;
      }
      const payload = bytes.subarray(envelopePrefixSizeBytes, envelopePrefixSizeBytes + size);
      // A copy: a message may live long, and the chunk that it came in is a slice of a much larger buffer.
      this.#waiting.push(size * 2 > bytes.buffer.byteLength ? payload : new Uint8Array(payload));
      bytes = bytes.subarray(envelopePrefixSizeBytes + size);
    }
    this.#partialBytes = bytes.length;
    if (bytes.length > 0) this.#partial.push(Buffer.from(bytes));
    if (this.#waiting.length >= waitingMax) this.#stream.pause();
    this.#answer();
  }

  #end(): void {
    if (this.#ended) return;
    const failure =
      this.#options.verdict?.() ??
      (this.#partialBytes === 0 ? undefined : protocolError('the stream ends within an envelope'));
    if (failure !== undefined) return this.fail(failure);
    this.#ended = true;
    this.#answer();
  }

  #violated(error: ConnectError): void {
    this.fail(error);
    this.#options.onViolation?.(error);
  }

  #answer(): void {
    const asked = this.#asked;
    if (asked === undefined) return;
    const payload = this.#waiting.shift();
    if (payload === undefined && !this.#ended) return;
    this.#asked = undefined;
    if (payload !== undefined) {
      if (this.#waiting.length < waitingMax && this.#stream.isPaused()) this.#stream.resume();
      try {
        asked.resolve({ done: false, value: this.#options.parse(payload) });
      } catch (error) {
        const why = new ConnectError('The message can not be read.', Code.InvalidArgument, undefined, undefined, error);
        asked.reject(why);
        this.#violated(why);
      }
    } else if (this.#failure !== undefined) {
      asked.reject(this.#failure);
    } else {
      asked.resolve({ done: true, value: undefined });
    }
  }
}

function protocolError(what: string): ConnectError {
  return new ConnectError(`protocol error: ${what}`, Code.InvalidArgument);
}
