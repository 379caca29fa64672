import { Code, ConnectError } from '@connectrpc/connect';
import type { FoundAgent } from '@drover/herd-protocol';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';

const away: readonly Code[] = [
  Code.Unavailable,
  Code.Canceled,
  Code.Aborted,
  Code.DeadlineExceeded,
  Code.Internal,
  Code.Unknown,
];

/** True if the connection broke or could not be made, rather than that the agent said no. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof ConnectError) || !away.includes(error.code)) return false;
  const meant = droverErrorFromConnect(error);
  return meant.code.startsWith('RPC_') && !isTrustFailure(error);
}

/** True if a machine is there and nothing listens: the agent's process has ended. */
export function isRefused(error: unknown): boolean {
  return codesIn(error).includes('ECONNREFUSED');
}

/** True if TLS says that the other end is not who it should be, or that it does not take this client's certificate. */
function isTrustFailure(error: unknown): boolean {
  return codesIn(error).some(
    (code) =>
      code.startsWith('ERR_TLS_') || code.startsWith('ERR_SSL_') || code.startsWith('CERT_') || code.includes('SIGNED'),
  );
}

/** What a failed first call means to the user. */
export function connectFailure(error: unknown, agent: FoundAgent): DroverError {
  if (isDroverError(error)) return error;
  const where = agent.addresses.map(({ host, port }) => `${host}:${port}`).join(', ');
  if (isTrustFailure(error)) {
    return new DroverError({
      code: 'AGENT_NOT_TRUSTED',
      advice: 'denied',
      message: `${agent.name} at ${where} is not trusted, or does not trust this client: ${innermost(error)}; pair with it anew`,
      cause: error,
    });
  }
  if (isAway(error)) {
    return new DroverError({
      code: 'AGENT_UNREACHABLE',
      advice: 'unavailable',
      message: `${agent.name} cannot be reached at ${where}: ${innermost(error)}`,
      cause: error,
    });
  }
  const meant = droverErrorFromConnect(error);
  if (meant.advice !== 'denied') return meant;
  return new DroverError({
    code: 'NOT_PAIRED',
    advice: 'denied',
    message: `${agent.name} does not know this client: ${meant.message}`,
    cause: error,
  });
}

function* causes(error: unknown): Generator<unknown> {
  for (let at = error, depth = 0; at !== undefined && at !== null && depth < 8; depth++) {
    yield at;
    const inner: unknown[] = at instanceof AggregateError ? at.errors : [];
    yield* inner;
    at = (at as { cause?: unknown }).cause;
  }
}

function codesIn(error: unknown): string[] {
  return [...causes(error)].flatMap((one) => {
    const code = (one as { code?: unknown }).code;
    return typeof code === 'string' ? [code] : [];
  });
}

function innermost(error: unknown): string {
  return messageOf([...causes(error)].at(-1));
}
