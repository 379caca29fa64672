import { Code, type Interceptor, type StreamResponse, type UnaryResponse } from '@connectrpc/connect';
import { silentLogger, type Logger } from '@drover/lease-kit';
import { connectErrorFrom } from './connect-error-from.ts';
import { convertErrors } from './convert-errors.ts';

/** Who works together in {@link errorInterceptor}. */
export interface ErrorInterceptorDeps {
  /** Gets one error line for each defect, with the original error as `err`. Absent: silence. */
  readonly logger?: Logger;
}

/**
 * A server interceptor that turns what handlers throw into wire errors with {@link connectErrorFrom}, also in the middle of a
 * stream. It belongs outermost, in front of every other interceptor.
 */
export function errorInterceptor({ logger = silentLogger }: ErrorInterceptorDeps = {}): Interceptor {
  const convert = (error: unknown, rpc: string): Error => {
    const converted = connectErrorFrom(error);
    if (converted.code === Code.Internal)
      logger.error({ err: converted.cause ?? converted, rpc }, 'RPC handler failed');
    return converted;
  };
  return (next) => async (request) => {
    const rpc = `${request.service.typeName}/${request.method.name}`;
    let response: UnaryResponse | StreamResponse;
    try {
      response = await next(request);
    } catch (error) {
      throw convert(error, rpc);
    }
    if (!response.stream) return response;
    const { service, method } = response;
    const message = convertErrors(response.message, (error) => convert(error, rpc));
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
