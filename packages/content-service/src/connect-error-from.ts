import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { isDroverError, type DroverError, type ErrorAdvice } from '@drover/lease-kit';
import { ErrorInfoSchema, RetryInfoSchema, type StatusSchema } from '@drover/standard-protocols';

/** The `domain` of the ErrorInfo that carries a `DroverError`'s code. */
export const errorDomain = 'drover';

/** The standard's codes for errors where the advice alone would give another one. */
const codes: Readonly<Record<string, Code>> = {
  RANGE_INVALID: Code.OutOfRange,
  UPLOAD_TAKEN_OVER: Code.Aborted,
  DIGEST_FUNCTION_UNSUPPORTED: Code.Unimplemented,
  COMPRESSOR_UNSUPPORTED: Code.Unimplemented,
  UPLOAD_STALLED: Code.DeadlineExceeded,
};

const codesByAdvice: Readonly<Record<ErrorAdvice, Code>> = {
  'fix-input': Code.InvalidArgument,
  'not-found': Code.NotFound,
  conflict: Code.Aborted,
  fenced: Code.FailedPrecondition,
  denied: Code.PermissionDenied,
  exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  cancelled: Code.Canceled,
  internal: Code.Internal,
};

/**
 * What a failed call answers: a `DroverError` as its gRPC code with an ErrorInfo (reason = its code) and, if it says when
 * to retry, a RetryInfo; anything unforeseen as `INTERNAL` without its text, which may hold paths.
 */
export function connectErrorFrom(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (!isDroverError(error)) return new ConnectError('internal error', Code.Internal, undefined, undefined, error);
  const details = [{ desc: ErrorInfoSchema, value: errorInfo(error) }];
  const retry =
    error.retryAfterMs === undefined ? [] : [{ desc: RetryInfoSchema, value: retryInfo(error.retryAfterMs) }];
  return new ConnectError(error.message, codeOf(error), undefined, [...details, ...retry], error);
}

/** The same as a `google.rpc.Status` inside an answer about several blobs. */
export function statusFrom(error: unknown): MessageInitShape<typeof StatusSchema> {
  if (!isDroverError(error)) {
    const { code, rawMessage } = connectErrorFrom(error);
    return { code, message: rawMessage };
  }
  const value = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, errorInfo(error)));
  const details = [{ typeUrl: `type.googleapis.com/${ErrorInfoSchema.typeName}`, value }];
  return { code: codeOf(error), message: error.message, details };
}

function codeOf(error: DroverError): Code {
  return codes[error.code] ?? codesByAdvice[error.advice];
}

function errorInfo(error: DroverError): MessageInitShape<typeof ErrorInfoSchema> {
  const metadata = Object.fromEntries(Object.entries(error.details).map(([name, value]) => [name, String(value)]));
  return { reason: error.code, domain: errorDomain, metadata };
}

function retryInfo(retryAfterMs: number): MessageInitShape<typeof RetryInfoSchema> {
  const seconds = BigInt(Math.floor(retryAfterMs / 1000));
  return { retryDelay: { seconds, nanos: Math.round((retryAfterMs % 1000) * 1e6) } };
}
