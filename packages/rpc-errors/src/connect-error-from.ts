import { Code, ConnectError } from '@connectrpc/connect';
import { isDroverError, type DroverError } from '@drover/lease-kit';
import { ErrorInfoSchema, RetryInfoSchema } from '@drover/standard-protocols';
import { rpcCodeOf } from './rpc-error-codes.ts';

/** Domain of the google.rpc.ErrorInfo that carries a DroverError. */
export const errorDomain = 'drover';
/** Response metadata that carries the code alone, for programs that read no details. */
export const errorCodeHeader = 'drover-error-code';
/** Reserved keys in the ErrorInfo's metadata; the others are the error's details. */
export const reservedKeys = {
  advice: 'drover-advice',
  numbers: 'drover-numbers',
  booleans: 'drover-booleans',
} as const;

/** Longest message that crosses the wire, in UTF-16 code units: it travels twice in one header block. */
export const messageLengthMax = 1024;
/** Most details that cross the wire. */
export const detailsMax = 16;
/** Longest value of a detail that crosses the wire, in UTF-16 code units. */
export const detailLengthMax = 256;

/**
 * What goes over the wire for anything that a handler threw.
 *
 * - A `ConnectError` stays as it is.
 * - A `DroverError` becomes the code that its advice stands for, with a google.rpc.ErrorInfo (domain `drover`, reason the stable
 *   code, metadata advice and details), a google.rpc.RetryInfo if it says when to try again, and the header
 *   `drover-error-code`. Messages and details that are too long are cut.
 * - An abort becomes CANCELED, a timeout DEADLINE_EXCEEDED.
 * - Everything else is a defect: INTERNAL without its message, which may hold what the caller must not see. The
 *   original is the `cause`, for the log.
 */
export function connectErrorFrom(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (isDroverError(error)) return fromDroverError(error);
  const name = error instanceof Error ? error.name : '';
  if (name === 'AbortError') return new ConnectError('The call was cancelled.', Code.Canceled, undefined, [], error);
  if (name === 'TimeoutError')
    return new ConnectError('The call timed out.', Code.DeadlineExceeded, undefined, [], error);
  return new ConnectError('Internal error.', Code.Internal, undefined, [], error);
}

function fromDroverError(error: DroverError): ConnectError {
  const details = Object.entries(error.details).slice(0, detailsMax);
  const named = (type: string) => details.filter(([, value]) => typeof value === type).map(([name]) => name);
  const metadata: Record<string, string> = { [reservedKeys.advice]: error.advice };
  for (const [name, value] of details) metadata[name] = cut(String(value), detailLengthMax);
  const numbers = named('number');
  const booleans = named('boolean');
  if (numbers.length > 0) metadata[reservedKeys.numbers] = numbers.join(',');
  if (booleans.length > 0) metadata[reservedKeys.booleans] = booleans.join(',');

  const info = { desc: ErrorInfoSchema, value: { reason: error.code, domain: errorDomain, metadata } };
  const retry =
    error.retryAfterMs === undefined
      ? []
      : [{ desc: RetryInfoSchema, value: { retryDelay: duration(error.retryAfterMs) } }];
  const message = cut(error.message, messageLengthMax);
  return new ConnectError(message, rpcCodeOf(error), { [errorCodeHeader]: error.code }, [info, ...retry], error);
}

function duration(ms: number): { seconds: bigint; nanos: number } {
  const whole = Math.max(0, Math.round(ms));
  return { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 };
}

function cut(text: string, max: number): string {
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`;
}
