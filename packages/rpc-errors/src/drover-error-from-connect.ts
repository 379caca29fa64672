import { Code, ConnectError } from '@connectrpc/connect';
import { DroverError, isDroverError, type DroverErrorOptions } from '@drover/lease-kit';
import { ErrorInfoSchema, RetryInfoSchema, type ErrorInfo } from '@drover/standard-protocols';
import { errorDomain, reservedKeys } from './connect-error-from.ts';
import { adviceOf, isAdvice, rpcErrorCode } from './rpc-error-codes.ts';

/**
 * What a failed call means to its caller: the `DroverError` that the other side threw, with code, advice, details and retry
 * delay. An error that carries none (a proxy's, a broken connection, a server that is no Drover) gets the code
 * `RPC_<gRPC code>`, e.g. `RPC_UNAVAILABLE`, and the advice that its gRPC code stands for. A message over the limit, which
 * Connect calls `resource_exhausted` like much else, is `MESSAGE_TOO_LARGE` (`fix-input`): sending it again gives the same
 * answer. The original is the `cause`.
 */
export function droverErrorFromConnect(error: unknown): DroverError {
  if (isDroverError(error)) return error;
  const received = ConnectError.from(error);
  // A DroverError that this side threw itself comes back from Connect as the cause of its wrapper.
  if (isDroverError(received.cause)) return received.cause;
  const info = received.findDetails(ErrorInfoSchema).find(({ domain }) => domain === errorDomain);
  const retryAfterMs = retryDelayMs(received);
  return new DroverError({
    ...(info === undefined ? plain(received) : carried(info, received)),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    cause: received,
  });
}

const overLimit = /message(?: size)?(?: (\d+))? is larger than configured (read|write)MaxBytes (\d+)/;

function plain(received: ConnectError): DroverErrorOptions {
  const tooLarge = received.code === Code.ResourceExhausted ? overLimit.exec(received.rawMessage) : null;
  if (tooLarge) {
    const [, sizeBytes, direction, maxBytes] = tooLarge;
    return {
      code: 'MESSAGE_TOO_LARGE',
      advice: 'fix-input',
      message: `a message of ${sizeBytes ?? 'too many'} bytes was ${direction === 'write' ? 'not sent' : 'not taken'}: at most ${maxBytes!} are allowed`,
      details: { maxBytes: Number(maxBytes), ...(sizeBytes === undefined ? {} : { sizeBytes: Number(sizeBytes) }) },
    };
  }
  return { code: rpcErrorCode(received.code), advice: adviceOf(received.code), message: received.rawMessage };
}

function carried(info: ErrorInfo, received: ConnectError): DroverErrorOptions {
  const advice = info.metadata[reservedKeys.advice];
  const numbers = new Set(info.metadata[reservedKeys.numbers]?.split(','));
  const booleans = new Set(info.metadata[reservedKeys.booleans]?.split(','));
  const reserved: ReadonlySet<string> = new Set(Object.values(reservedKeys));
  const details: Record<string, string | number | boolean> = {};
  for (const [name, text] of Object.entries(info.metadata)) {
    if (reserved.has(name)) continue;
    details[name] = numbers.has(name) ? Number(text) : booleans.has(name) ? text === 'true' : text;
  }
  return {
    code: info.reason,
    // A newer peer may know advice that this side does not.
    advice: isAdvice(advice) ? advice : adviceOf(received.code),
    message: received.rawMessage,
    details,
  };
}

function retryDelayMs(received: ConnectError): number | undefined {
  const [retry] = received.findDetails(RetryInfoSchema);
  if (retry?.retryDelay === undefined) return undefined;
  return Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1_000_000;
}
