import { Code } from '@connectrpc/connect';
import type { ErrorAdvice } from '@drover/lease-kit';

/** Code of a call without a principal. Its advice is `denied`; on the wire it is UNAUTHENTICATED, not PERMISSION_DENIED. */
export const unauthenticatedCode = 'UNAUTHENTICATED';

/**
 * Codes that say that a credential is missing or not right, so that another one may help. Every other `denied` is
 * PERMISSION_DENIED: the caller is known and may not do this.
 */
const credentialCodes: ReadonlySet<string> = new Set([
  unauthenticatedCode,
  'PRINCIPAL_UNKNOWN',
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
]);

const codes: Readonly<Record<ErrorAdvice, Code>> = {
  'fix-input': Code.InvalidArgument,
  'not-found': Code.NotFound,
  conflict: Code.FailedPrecondition,
  // ABORTED: gRPC's word for "start again at a higher level", which for an agent is a new session.
  fenced: Code.Aborted,
  denied: Code.PermissionDenied,
  exhausted: Code.ResourceExhausted,
  unavailable: Code.Unavailable,
  cancelled: Code.Canceled,
  internal: Code.Internal,
};

const advices: Readonly<Record<Code, ErrorAdvice>> = {
  [Code.InvalidArgument]: 'fix-input',
  [Code.OutOfRange]: 'fix-input',
  [Code.Unimplemented]: 'fix-input',
  [Code.NotFound]: 'not-found',
  [Code.AlreadyExists]: 'conflict',
  [Code.FailedPrecondition]: 'conflict',
  [Code.Aborted]: 'conflict',
  [Code.PermissionDenied]: 'denied',
  [Code.Unauthenticated]: 'denied',
  [Code.ResourceExhausted]: 'exhausted',
  [Code.Unavailable]: 'unavailable',
  [Code.DeadlineExceeded]: 'unavailable',
  [Code.Canceled]: 'cancelled',
  [Code.Unknown]: 'internal',
  [Code.Internal]: 'internal',
  [Code.DataLoss]: 'internal',
};

/** The wire code of an error, from what its caller should do next. */
export function rpcCodeOf(error: { readonly advice: ErrorAdvice; readonly code: string }): Code {
  return credentialCodes.has(error.code) ? Code.Unauthenticated : codes[error.advice];
}

/** What to do next about a wire code that came without a Drover error: ABORTED is a conflict, never `fenced`. */
export function adviceOf(code: Code): ErrorAdvice {
  return advices[code];
}

/** The code of a DroverError for a wire code that came without one, e.g. `RPC_DEADLINE_EXCEEDED`. */
export function rpcErrorCode(code: Code): string {
  return `RPC_${Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase()}`;
}

/** True for a word that is an {@link ErrorAdvice}. */
export function isAdvice(word: string | undefined): word is ErrorAdvice {
  return word !== undefined && Object.hasOwn(codes, word);
}
