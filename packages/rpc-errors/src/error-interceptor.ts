import {
  Code,
  ConnectError,
  type Interceptor,
  type StreamRequest,
  type StreamResponse,
  type UnaryRequest,
  type UnaryResponse,
} from '@connectrpc/connect';
import { silentLogger, type Logger } from '@drover/lease-kit';
import { connectErrorFrom } from './connect-error-from.ts';
import { convertErrors } from './convert-errors.ts';

/** Who works together in {@link errorInterceptor}. */
export interface ErrorInterceptorDeps {
  /** Gets one error line for each defect, with the original error as `err`. Absent: silence. */
  readonly logger?: Logger;
  /**
   * Told of each call as its handler begins; what it returns is told how the call ended: the code of the error, or undefined for
   * none. Absent: nobody is told.
   */
  readonly observe?: CallObserver | undefined;
}

/** Told of a call, and then how it ended. */
export type CallObserver = (call: {
  /** Full name of the service. */
  readonly service: string;
  readonly method: string;
  /** It has one message each way. */
  readonly unary: boolean;
}) => (code: Code | undefined) => void;

/**
 * A server interceptor that turns what handlers throw into wire errors with {@link connectErrorFrom}, also in the middle of a
 * stream. It belongs outermost, in front of every other interceptor.
 */
export function errorInterceptor({ logger = silentLogger, observe }: ErrorInterceptorDeps = {}): Interceptor {
  const convert = (error: unknown, rpc: string): ConnectError => {
    const converted = connectErrorFrom(error);
    if (converted.code === Code.Internal)
      logger.error({ err: converted.cause ?? converted, rpc }, 'RPC handler failed');
    return converted;
  };
  return (next) => async (request) => {
    const rpc = `${request.service.typeName}/${request.method.name}`;
    const ended = observe && onceTold(observe, request);
    const fail = (error: unknown): ConnectError => {
      const converted = convert(error, rpc);
      ended?.(converted.code);
      return converted;
    };
    let response: UnaryResponse | StreamResponse;
    try {
      response = await next(request);
    } catch (error) {
      throw fail(error);
    }
    if (!response.stream) {
      ended?.(undefined);
      return response;
    }
    const { service, method } = response;
    const message = convertErrors(response.message, fail, ended && (() => ended(undefined)));
    // Not spread: the headers come into being when somebody looks at them.
    return {
      stream: true,
      service,
      method,
      message,
      get header() {
        return response.header;
      },
      get trailer() {
        return response.trailer;
      },
    };
  };
}

/** Tells the end of a call once, whatever comes first: an error, the last message, or that its caller has left. */
function onceTold(observe: CallObserver, { service, method, signal }: UnaryRequest | StreamRequest) {
  const unary = method.methodKind === 'unary';
  const ended = observe({ service: service.typeName, method: method.name, unary });
  let isTold = false;
  const tell = (code: Code | undefined): void => {
    if (isTold) return;
    isTold = true;
    ended(code);
  };
  // Nobody reads a stream on whose caller has left, so that it has no end of its own.
  if (!unary) signal.addEventListener('abort', () => tell(ConnectError.from(signal.reason).code), { once: true });
  return tell;
}
