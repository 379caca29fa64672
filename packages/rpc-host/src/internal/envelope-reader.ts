import type { ServerHttp2Stream } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';

const prefixSize = 5;
/** Envelopes that wait for a slow handler before the stream is paused; the rest stays under flow control. */
const waitingMax = 16;

/**
 * The gRPC messages that arrive on an HTTP/2 stream, one after the other: the length-prefixed framing of
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md without compression. It holds next to nothing while
 * nothing arrives, which async generators over the stream do not.
 */
export class EnvelopeReader<T> implements AsyncIterable<T>, AsyncIterator<T> {
  readonly #stream: ServerHttp2Stream;
  readonly #sizeBytesMax: number;
  readonly #parse: (payload: Uint8Array) => T;
  /** Bytes of an envelope that is not complete. */
  #partial: Buffer | undefined;
  #waiting: Uint8Array[] = [];
  #asked: { resolve: (result: IteratorResult<T>) => void; reject: (reason: unknown) => void } | undefined;
  #ended = false;
  #failure: Error | undefined;

  constructor(stream: ServerHttp2Stream, sizeBytesMax: number, parse: (payload: Uint8Array) => T) {
    this.#stream = stream;
    this.#sizeBytesMax = sizeBytesMax;
    this.#parse = parse;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    stream.on('end', () => this.#end());
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject };
      this.#answer();
    });
  }

  /** The handler wants no more: what still comes is read and dropped. */
  return(): Promise<IteratorResult<T>> {
    this.#ended = true;
    this.#waiting = [];
    this.#partial = undefined;
    this.#stream.resume();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends the messages with an error, behind those that have arrived. */
  fail(reason: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#failure = reason;
    this.#answer();
  }

  #take(chunk: Buffer): void {
    if (this.#ended) return;
    let bytes = this.#partial === undefined ? chunk : Buffer.concat([this.#partial, chunk]);
    while (bytes.length >= prefixSize) {
      const size = bytes.readUInt32BE(1);
      if (bytes[0] !== 0) return this.fail(protocolError('a compressed or unknown envelope without grpc-encoding'));
      if (size > this.#sizeBytesMax) {
        const message = `message size ${size} is larger than configured readMaxBytes ${this.#sizeBytesMax}`;
        return this.fail(new ConnectError(message, Code.ResourceExhausted));
      }
      if (bytes.length < prefixSize + size) break;
      // A copy: a message may live long, and the chunk that it came in is a slice of a much larger buffer.
      this.#waiting.push(new Uint8Array(bytes.subarray(prefixSize, prefixSize + size)));
      bytes = bytes.subarray(prefixSize + size);
    }
    this.#partial = bytes.length === 0 ? undefined : Buffer.from(bytes);
    if (this.#waiting.length >= waitingMax) this.#stream.pause();
    this.#answer();
  }

  #end(): void {
    if (this.#ended) return;
    if (this.#partial !== undefined) return this.fail(protocolError('the stream ends within an envelope'));
    this.#ended = true;
    this.#answer();
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
        asked.resolve({ done: false, value: this.#parse(payload) });
      } catch (error) {
        asked.reject(
          new ConnectError('The message can not be read.', Code.InvalidArgument, undefined, undefined, error),
        );
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
