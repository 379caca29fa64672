import type { IncomingHttpHeaders } from 'node:http2';
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import type { ContextValues, HandlerContext, StreamRequest } from '@connectrpc/connect';
import { webHeaders } from '@drover/grpc-streams';

/** The context of a gRPC call whose parts come into being when somebody looks at them: most calls need few. */
export class GrpcCallContext implements HandlerContext {
  readonly method: DescMethod;
  readonly service: DescService;
  readonly signal: AbortSignal;
  readonly values: ContextValues;
  readonly requestMethod = 'POST';
  readonly protocolName = 'grpc';
  readonly #headers: IncomingHttpHeaders;
  readonly #deadlineMs: number | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;

  constructor(init: {
    readonly method: DescMethod;
    readonly signal: AbortSignal;
    readonly values: ContextValues;
    readonly headers: IncomingHttpHeaders;
    readonly timeoutMs: number | undefined;
  }) {
    this.method = init.method;
    this.service = init.method.parent;
    this.signal = init.signal;
    this.values = init.values;
    this.#headers = init.headers;
    this.#deadlineMs = init.timeoutMs === undefined ? undefined : performance.now() + init.timeoutMs;
  }

  timeoutMs = (): number | undefined =>
    this.#deadlineMs === undefined ? undefined : this.#deadlineMs - performance.now();

  get url(): string {
    return `${this.#headers[':scheme'] ?? 'http'}://${this.#headers[':authority'] ?? ''}${this.#headers[':path'] ?? ''}`;
  }

  get requestHeader(): Headers {
    return (this.#requestHeader ??= webHeaders(this.#headers));
  }

  get responseHeader(): Headers {
    return (this.#responseHeader ??= new Headers());
  }

  get responseTrailer(): Headers {
    return (this.#responseTrailer ??= new Headers());
  }

  /** Response headers that somebody has set; undefined if nobody looked. */
  get responseHeaderIfAny(): Headers | undefined {
    return this.#responseHeader;
  }

  /** The same call as an interceptor has changed it. */
  derive(request: StreamRequest): HandlerContext {
    return {
      method: this.method,
      service: this.service,
      signal: request.signal,
      values: request.contextValues,
      requestMethod: this.requestMethod,
      protocolName: this.protocolName,
      url: request.url,
      timeoutMs: this.timeoutMs,
      requestHeader: request.header,
      responseHeader: this.responseHeader,
      responseTrailer: this.responseTrailer,
    };
  }

  /** Lets go of what the check of the principal has read; the next look makes it again. */
  forgetRequestHeader(): void {
    this.#requestHeader = undefined;
  }
}
