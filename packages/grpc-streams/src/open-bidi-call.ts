import { once } from 'node:events';
import { constants, type ClientHttp2Stream, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import {
  fromBinary,
  type DescMessage,
  type DescMethodBiDiStreaming,
  type DescMethodClientStreaming,
  type MessageShape,
} from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { contentTypeProto, findTrailerError, validateResponse } from '@connectrpc/connect/protocol-grpc';
import { encodeEnvelope, envelopePieces } from './envelope.ts';
import { EnvelopeReader } from './envelope-reader.ts';
import { webHeaders } from './web-headers.ts';

/** An HTTP/2 connection that calls share; connect-node's `Http2SessionManager` is one. */
export interface BidiConnection {
  /** Opens a stream, and the connection if there is none. */
  request(method: string, path: string, headers: OutgoingHttpHeaders, options: object): Promise<ClientHttp2Stream>;
  /** Bytes have come: the connection is alive. */
  notifyResponseByteRead(stream: ClientHttp2Stream): void;
}

/** How a call is made. */
export interface BidiCallOptions {
  readonly connection: BidiConnection;
  /** Headers beside those of the protocol, e.g. `authorization`; lower-case names. A function is asked when the call opens. */
  readonly headers:
    | Readonly<Record<string, string>>
    | (() => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>);
  /** Longest message that is taken. */
  readonly readMaxBytes: number;
  /** Longest message that is sent. */
  readonly writeMaxBytes: number;
  /** Aborting it resets the stream with CANCEL and ends the answers with `canceled`. */
  readonly signal: AbortSignal;
}

/** How requests are serialized. */
export interface RequestEncoding<Request> {
  /**
   * Serializes a request in pieces that are sent as they are, for messages that carry much: bytes are not copied, and must not
   * change until the next request is asked for, by when they are sent. Absent: as protobuf-es does. Not held to `writeMaxBytes`.
   */
  readonly encode?: ((request: Request) => readonly Uint8Array[]) | undefined;
}

/** A connection is told at most once in this time that it is alive. */
const heardSpacingMs = 1_000;

/**
 * Calls a bidirectional or client-streaming method with binary, uncompressed gRPC messages straight on an HTTP/2 stream, without the pipeline
 * of async generators that Connect puts between: a message reaches its reader in the turn of the event loop in which its
 * bytes arrive. Requests are taken one at a time, the next when the stream has room; when the call is over, their iterator
 * is returned. Answers reject with a `ConnectError`: the server's status, the gRPC code of a reset
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors), or `unavailable` for a connection that broke.
 */
export function openBidiCall<I extends DescMessage, O extends DescMessage>(
  method: DescMethodBiDiStreaming<I, O> | DescMethodClientStreaming<I, O>,
  requests: AsyncIterable<MessageShape<I>>,
  options: BidiCallOptions & RequestEncoding<MessageShape<I>>,
): AsyncIterableIterator<MessageShape<O>> {
  return new BidiCall(method, requests, options);
}

class BidiCall<I extends DescMessage, O extends DescMessage> implements AsyncIterableIterator<MessageShape<O>> {
  readonly #method: DescMethodBiDiStreaming<I, O> | DescMethodClientStreaming<I, O>;
  readonly #requests: AsyncIterator<MessageShape<I>>;
  readonly #options: BidiCallOptions & RequestEncoding<MessageShape<I>>;
  readonly #opening: Promise<EnvelopeReader<MessageShape<O>>>;
  readonly #onAbort = (): void => this.#end(canceled(this.#options.signal));
  #stream: ClientHttp2Stream | undefined;
  #session: ClientHttp2Stream['session'];
  #reader: EnvelopeReader<MessageShape<O>> | undefined;
  #trailer: IncomingHttpHeaders | undefined;
  #over = false;
  #heardAtMs = -Infinity;

  constructor(
    method: DescMethodBiDiStreaming<I, O> | DescMethodClientStreaming<I, O>,
    requests: AsyncIterable<MessageShape<I>>,
    options: BidiCallOptions & RequestEncoding<MessageShape<I>>,
  ) {
    this.#method = method;
    this.#requests = requests[Symbol.asyncIterator]();
    this.#options = options;
    this.#opening = this.#open();
    // Whoever never asks for an answer is told nothing of its failure.
    this.#opening.catch(() => undefined);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<MessageShape<O>>> {
    return this.#reader === undefined ? this.#opening.then((reader) => reader.next()) : this.#reader.next();
  }

  return(): Promise<IteratorResult<MessageShape<O>>> {
    this.#end(new ConnectError('The caller wants no more.', Code.Canceled));
    return Promise.resolve({ done: true, value: undefined });
  }

  async #open(): Promise<EnvelopeReader<MessageShape<O>>> {
    const { connection, readMaxBytes, signal } = this.#options;
    if (signal.aborted) throw this.#notOpened(canceled(signal));
    const path = `/${this.#method.parent.typeName}/${this.#method.name}`;
    let stream: ClientHttp2Stream;
    try {
      const given = this.#options.headers;
      const headers = typeof given === 'function' ? await given() : given;
      if (this.#over || signal.aborted) throw canceled(signal);
      stream = await connection.request(
        'POST',
        path,
        { ...headers, 'content-type': contentTypeProto, te: 'trailers' },
        {},
      );
    } catch (error) {
      throw this.#notOpened(error instanceof ConnectError ? error : connectionBroke(error));
    }
    const reader = new EnvelopeReader(stream, {
      sizeBytesMax: readMaxBytes,
      parse: (payload) => fromBinary(this.#method.output, payload),
      verdict: () => this.#verdict(),
      onViolation: (error) => this.#end(error),
    });
    this.#stream = stream;
    this.#session = stream.session;
    this.#reader = reader;
    stream.on('data', () => this.#heard(connection, stream));
    stream.on('response', (received) => this.#checkResponse(received));
    stream.on('trailers', (trailer) => (this.#trailer = trailer));
    stream.on('error', (error) => this.#end(this.#broken(error)));
    // The server has said everything: what the requests still bring is of no use to it.
    stream.on('end', () => this.#stop(constants.NGHTTP2_NO_ERROR));
    stream.on('close', () => this.#end(this.#broken(undefined)));
    signal.addEventListener('abort', this.#onAbort);
    if (this.#over || signal.aborted) this.#end(canceled(signal));
    else void this.#send(stream);
    return reader;
  }

  /** Re-arming the PING timer for each message would cost more than the message. */
  #heard(connection: BidiConnection, stream: ClientHttp2Stream): void {
    const nowMs = performance.now();
    if (nowMs - this.#heardAtMs < heardSpacingMs) return;
    this.#heardAtMs = nowMs;
    connection.notifyResponseByteRead(stream);
  }

  async #send(stream: ClientHttp2Stream): Promise<void> {
    const { encode, writeMaxBytes, signal } = this.#options;
    try {
      for (;;) {
        const { done, value } = await this.#requests.next();
        if (this.#over || stream.destroyed) return;
        if (done === true) return void stream.end();
        if (encode !== undefined) await sent(stream, envelopePieces(encode(value)));
        else if (!stream.write(encodeEnvelope(this.#method.input, value, writeMaxBytes))) {
          await once(stream, 'drain', { signal });
        }
        if (this.#over) return;
      }
    } catch (error) {
      this.#end(ConnectError.from(error));
    }
  }

  /** Throws away a call that never had a stream. */
  #notOpened(error: ConnectError): ConnectError {
    this.#over = true;
    void this.#requests.return?.();
    return error;
  }

  #checkResponse(received: IncomingHttpHeaders): void {
    try {
      const { foundStatus, headerError } = validateResponse(Number(received[':status']), webHeaders(received));
      if (headerError !== undefined) throw headerError;
      // A status without an error and without messages: there are no trailers to come.
      if (foundStatus) this.#trailer = received;
    } catch (error) {
      this.#end(ConnectError.from(error));
    }
  }

  #verdict(): ConnectError | undefined {
    if (this.#trailer === undefined) return this.#broken(undefined);
    return findTrailerError(webHeaders(this.#trailer));
  }

  /** Why there is no status. Node resets the streams of a connection that broke with CANCEL, as if somebody had wished it. */
  #broken(cause: unknown): ConnectError {
    const reset = this.#session?.closed === true ? undefined : resetError(this.#stream?.rstCode ?? 0);
    return reset ?? connectionBroke(cause);
  }

  #end(error: ConnectError): void {
    this.#reader?.fail(error);
    this.#stop(error.code === Code.Canceled ? constants.NGHTTP2_CANCEL : constants.NGHTTP2_INTERNAL_ERROR);
  }

  #stop(rstCode: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.signal.removeEventListener('abort', this.#onAbort);
    void this.#requests.return?.();
    if (this.#stream?.closed === false) this.#stream.close(rstCode);
  }
}

/** Writes all pieces in one go; resolves when the connection has them, or when there is no stream any more. */
function sent(stream: ClientHttp2Stream, pieces: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve) => {
    stream.cork();
    for (const piece of pieces.slice(0, -1)) stream.write(piece);
    // Of a stream that breaks, others hear why.
    stream.write(pieces.at(-1), () => resolve());
    stream.uncork();
  });
}

const codesOfResets: Readonly<Record<number, Code>> = {
  [constants.NGHTTP2_REFUSED_STREAM]: Code.Unavailable,
  [constants.NGHTTP2_CANCEL]: Code.Canceled,
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: Code.ResourceExhausted,
  [constants.NGHTTP2_INADEQUATE_SECURITY]: Code.PermissionDenied,
};

function resetError(rstCode: number): ConnectError | undefined {
  if (rstCode === constants.NGHTTP2_NO_ERROR) return undefined;
  return new ConnectError(`http/2 stream reset with error code ${rstCode}`, codesOfResets[rstCode] ?? Code.Internal);
}

function connectionBroke(cause: unknown): ConnectError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new ConnectError(`The connection to the server is gone${why}`, Code.Unavailable, undefined, undefined, cause);
}

function canceled(signal: AbortSignal): ConnectError {
  const reason: unknown = signal.reason;
  return new ConnectError('The call was aborted.', Code.Canceled, undefined, undefined, reason);
}
