import { once } from 'node:events';
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import {
  create,
  fromBinary,
  type DescMessage,
  type DescMethodBiDiStreaming,
  type DescMethodClientStreaming,
  type MessageInitShape,
} from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  type HandlerContext,
  type Interceptor,
  type MethodImpl,
  type StreamRequest,
  type StreamResponse,
} from '@connectrpc/connect';
import { contentTypeProto, parseTimeout, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { encodeEnvelope, EnvelopeReader } from '@drover/grpc-streams';
import { callValues } from '../principal.ts';
import type { RpcHostLimits } from '../rpc-host-limits.ts';
import { GrpcCallContext } from './grpc-call-context.ts';

/** A method whose requests are a stream, and who implements it. */
export interface BidiMethod {
  readonly method: DescMethodBiDiStreaming | DescMethodClientStreaming;
  /** The one answer of a client-streaming method comes as a stream of one. */
  readonly implementation: MethodImpl<DescMethodBiDiStreaming>;
  /** Longest message that is received; absent: the host's limit. */
  readonly readMaxBytes?: number | undefined;
  /** Longest message that is sent; absent: the host's limit. */
  readonly writeMaxBytes?: number | undefined;
}

/** What {@link GrpcBidiCalls} needs. */
export interface GrpcBidiCallsDeps {
  /** By request path. */
  readonly methods: ReadonlyMap<string, BidiMethod>;
  /** Outermost first; the first turns errors into wire errors. */
  readonly interceptors: readonly Interceptor[];
  readonly gate: (context: HandlerContext) => Promise<void>;
  readonly limits: RpcHostLimits;
}

/**
 * Serves bidirectional and client-streaming gRPC calls over HTTP/2 straight on their streams. Connect's own handler does the same through a
 * pipeline of a dozen async generators which hold about 40 KiB while a call is open; an agent keeps one call open for
 * as long as it lives, and a server has thousands of agents. Here an idle call holds about 5 KiB, and a file that is sent to
 * a host costs a fraction of the processor time. Everything else (the other
 * protocols, other kinds of methods, JSON, compressed requests) goes through Connect.
 */
export class GrpcBidiCalls {
  readonly #deps: GrpcBidiCallsDeps;
  readonly #open = new Set<AbortController>();

  constructor(deps: GrpcBidiCallsDeps) {
    this.#deps = deps;
  }

  /** Serves the call; false if it is not one of this kind. */
  accept(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): boolean {
    const bidi = this.#deps.methods.get(headers[':path'] ?? '');
    const type = headers['content-type'];
    if (bidi === undefined || headers[':method'] !== 'POST') return false;
    if (type !== 'application/grpc' && type !== contentTypeProto) return false;
    if ((headers['grpc-encoding'] ?? 'identity') !== 'identity') return false;
    void this.#serve(bidi, stream, headers);
    return true;
  }

  /** Ends every open call with an error. */
  abort(reason: ConnectError): void {
    for (const call of this.#open) call.abort(reason);
  }

  async #serve(bidi: BidiMethod, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    const { method, implementation } = bidi;
    const { limits, gate, interceptors } = this.#deps;
    const call = new AbortController();
    const requests = new EnvelopeReader(stream, {
      sizeBytesMax: bidi.readMaxBytes ?? limits.messageReceiveSizeBytesMax,
      parse: (payload) => fromBinary(method.input, payload),
    });
    call.signal.addEventListener('abort', () => requests.fail(call.signal.reason as Error), { once: true });
    const timeout = parseTimeout(headers['grpc-timeout']?.toString() ?? null, limits.callTimeoutMsMax);
    const timer =
      timeout.timeoutMs === undefined || timeout.error !== undefined
        ? undefined
        : setTimeout(
            () => call.abort(new ConnectError('the operation timed out', Code.DeadlineExceeded)),
            timeout.timeoutMs,
          );
    // A reset has no other listener and would end the process; 'close' follows it.
    stream.on('error', () => undefined);
    stream.once('close', () => {
      clearTimeout(timer);
      this.#open.delete(call);
      call.abort(new ConnectError('The caller went away.', Code.Canceled));
    });
    this.#open.add(call);

    const context = new GrpcCallContext({
      method,
      signal: call.signal,
      values: callValues(stream.session?.socket),
      headers,
      timeoutMs: timeout.timeoutMs,
    });
    let failure: ConnectError | undefined;
    try {
      if (timeout.error !== undefined) throw timeout.error;
      await gate(context);
      context.forgetRequestHeader();
      const response = await invoke(implementation, context, requests, interceptors);
      for await (const message of response.message) await this.#send(stream, context, bidi, message);
    } catch (error) {
      failure = ConnectError.from(error, Code.Internal);
    }
    // A handler that returned without reading to the end: what still arrives must not fill the window.
    void requests.return();
    end(stream, context, failure);
  }

  async #send(stream: ServerHttp2Stream, context: GrpcCallContext, bidi: BidiMethod, message: object) {
    const { output } = bidi.method;
    const sizeBytesMax = bidi.writeMaxBytes ?? this.#deps.limits.messageSendSizeBytesMax;
    const bytes = encodeEnvelope(output, create(output, message as MessageInitShape<DescMessage>), sizeBytesMax);
    if (stream.destroyed) throw context.signal.reason ?? new ConnectError('The caller went away.', Code.Canceled);
    if (!stream.headersSent) respond(stream, context);
    // 'close' aborts the signal: a caller that reads nothing and goes away must not hold the handler for ever.
    if (!stream.write(bytes)) await once(stream, 'drain', { signal: context.signal });
  }
}

async function invoke(
  implementation: BidiMethod['implementation'],
  context: GrpcCallContext,
  requests: AsyncIterable<object>,
  interceptors: readonly Interceptor[],
): Promise<StreamResponse> {
  const request = {
    stream: true,
    message: requests,
    method: context.method,
    service: context.service,
    requestMethod: context.requestMethod,
    signal: context.signal,
    contextValues: context.values,
    get url() {
      return context.url;
    },
    get header() {
      return context.requestHeader;
    },
  } as StreamRequest;
  let next = (received: StreamRequest): Promise<StreamResponse> => {
    // An interceptor that passes something else on has changed what the handler sees.
    const seen = received === request ? context : context.derive(received);
    return Promise.resolve({
      stream: true,
      service: context.service,
      method: received.method,
      message: implementation(received.message, seen),
      get header() {
        return context.responseHeader;
      },
      get trailer() {
        return context.responseTrailer;
      },
    } as StreamResponse);
  };
  for (const interceptor of [...interceptors].reverse()) next = interceptor(next as never) as typeof next;
  return next(request);
}

function respond(stream: ServerHttp2Stream, context: GrpcCallContext): void {
  const headers: OutgoingHttpHeaders = { ':status': 200, 'content-type': contentTypeProto };
  for (const [name, value] of context.responseHeaderIfAny ?? []) headers[name] = value;
  stream.respond(headers, { waitForTrailers: true });
}

function end(stream: ServerHttp2Stream, context: GrpcCallContext, failure: ConnectError | undefined): void {
  if (stream.destroyed || stream.closed) return;
  const trailers: OutgoingHttpHeaders = {};
  for (const [name, value] of setTrailerStatus(context.responseTrailer, failure)) trailers[name] = value;
  if (!stream.headersSent) respond(stream, context);
  stream.once('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end();
}
