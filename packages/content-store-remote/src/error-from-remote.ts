import { fromBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { blobNotFound, contentStoreFull, digestMismatch, type Digest } from '@drover/content-store';
import { DroverError, isDroverError, type ErrorAdvice } from '@drover/lease-kit';
import { ErrorInfoSchema, RetryInfoSchema, type Status } from '@drover/standard-protocols';

/** Codes that a remote store adds to those of the port. */
export type RemoteContentErrorCode = 'CONTENT_STORE_UNAVAILABLE' | 'CONTENT_STORE_REFUSED';

/** What the transport says of a connection that broke or can't be made; trying again may help. */
const transientCodes: readonly Code[] = [
  Code.Unavailable,
  Code.Aborted,
  Code.Internal,
  Code.Unknown,
  Code.DeadlineExceeded,
];
/** A server or its stand-in that resets a stream without an error of its own: the same call may succeed. */
const brokenCodes: readonly Code[] = [Code.Canceled];

const adviceByCode: Readonly<Partial<Record<Code, ErrorAdvice>>> = {
  [Code.InvalidArgument]: 'fix-input',
  [Code.OutOfRange]: 'fix-input',
  [Code.Unimplemented]: 'fix-input',
  [Code.NotFound]: 'not-found',
  [Code.AlreadyExists]: 'conflict',
  [Code.FailedPrecondition]: 'conflict',
  [Code.PermissionDenied]: 'denied',
  [Code.Unauthenticated]: 'denied',
  [Code.ResourceExhausted]: 'exhausted',
};

/**
 * True if the same call may succeed when it is made again: the connection broke, the server is away, or it said when to
 * come back. The caller's own abort was looked at before.
 */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof ConnectError)) return isDroverError(error) && error.advice === 'unavailable';
  if (transientCodes.includes(error.code) || brokenCodes.includes(error.code)) return true;
  return error.code === Code.ResourceExhausted && retryAfterMs(error) !== undefined;
}

/** How long the server asks to wait, if it does. */
export function retryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof ConnectError)) return undefined;
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay === undefined ? undefined : Number(delay.seconds) * 1000 + delay.nanos / 1e6;
}

/** What a failed call means to the caller of the port; `digest` is the blob it was about, if it was about one. */
export function errorFromRemote(error: unknown, digest?: Digest): unknown {
  if (!(error instanceof ConnectError)) return error;
  const reason = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === 'drover')?.reason;
  return errorFor(error.code, reason, error.rawMessage, digest, error);
}

/** The same for the status of one blob in a batch answer; absent if the status is OK. */
export function errorFromStatus(status: Status | undefined, digest: Digest): unknown {
  if (status === undefined || status.code === 0) return undefined;
  const info = status.details.find(({ typeUrl }) => typeUrl.endsWith(`/${ErrorInfoSchema.typeName}`));
  const { domain, reason } = info === undefined ? {} : fromBinary(ErrorInfoSchema, info.value);
  return errorFor(status.code, domain === 'drover' ? reason : undefined, status.message, digest, undefined);
}

function errorFor(
  code: Code,
  reason: string | undefined,
  message: string,
  digest: Digest | undefined,
  cause: unknown,
): DroverError {
  const advice = adviceByCode[code] ?? 'unavailable';
  // A Drover server names its error; of another one the standard's code says it.
  if (reason !== undefined) return new DroverError({ code: reason, advice, message, cause });
  if (digest !== undefined && code === Code.NotFound) return blobNotFound(digest);
  if (digest !== undefined && code === Code.ResourceExhausted)
    return contentStoreFull(digest.sizeBytes, message, cause);
  if (digest !== undefined && code === Code.InvalidArgument && /digest|hash|size/i.test(message)) {
    return digestMismatch(digest, { sizeBytes: digest.sizeBytes });
  }
  const refused: RemoteContentErrorCode =
    advice === 'unavailable' ? 'CONTENT_STORE_UNAVAILABLE' : 'CONTENT_STORE_REFUSED';
  return new DroverError({ code: refused, advice, message: `the content server says: ${message}`, cause });
}
