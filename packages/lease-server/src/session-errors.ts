import { DroverError } from '@drover/lease-kit';
import type { SessionEnd } from '@drover/reconciler-state-machine';

/** `SESSION_UNKNOWN`: this server does not hold the session (any more); the agent opens a new one. */
export function sessionUnknown(sessionId: string, why = 'this server does not hold it'): DroverError {
  return new DroverError({
    code: 'SESSION_UNKNOWN',
    advice: 'not-found',
    message: `There is no session ${JSON.stringify(sessionId.slice(0, 64))}: ${why}. Open a new one.`,
  });
}

/** `SESSION_FENCED`: another process has a newer session of the same agent; the caller stops. */
export function sessionFenced(agentId: string, epoch: number): DroverError {
  return new DroverError({
    code: 'SESSION_FENCED',
    advice: 'fenced',
    message: `Agent ${agentId} has a newer session than that of epoch ${epoch}, opened by another process.`,
    details: { agentId, epoch },
  });
}

/** `SESSION_PROTOCOL_VIOLATION`: the agent said what the protocol rules out; the session is over. */
export function protocolViolation(message: string): DroverError {
  return new DroverError({ code: 'SESSION_PROTOCOL_VIOLATION', advice: 'fix-input', message });
}

/** `COPY_INVALID`: a message that cannot be read as a copy. */
export function copyInvalid(message: string): DroverError {
  return new DroverError({ code: 'COPY_INVALID', advice: 'fix-input', message });
}

/** `SERVER_STOPPING`: this server ends or drains; another one, or this one later, will answer. */
export function serverStopping(): DroverError {
  return new DroverError({
    code: 'SERVER_STOPPING',
    advice: 'unavailable',
    message: 'This server is stopping and holds no sessions; open one with another server.',
    retryAfterMs: 1_000,
  });
}

/** `SESSIONS_FULL`: the server holds as many sessions as it may. */
export function sessionsFull(sessionsMax: number): DroverError {
  return new DroverError({
    code: 'SESSIONS_FULL',
    advice: 'exhausted',
    message: `This server holds ${sessionsMax} sessions, which is the most allowed.`,
    details: { sessionsMax },
    retryAfterMs: 5_000,
  });
}

/** `AGENT_NOT_AUTHORIZED`: the principal may not act as this agent. */
export function agentNotAuthorized(principal: string, agentId: string): DroverError {
  return new DroverError({
    code: 'AGENT_NOT_AUTHORIZED',
    advice: 'denied',
    message: `${principal} may not act as agent ${agentId}.`,
    details: { agentId },
  });
}

/** `OPEN_SESSION_INVALID`: a request that no session can be opened for. */
export function openSessionInvalid(field: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'OPEN_SESSION_INVALID',
    advice: 'fix-input',
    message: `${field}: ${problem}; allowed: ${allowed}.`,
    details: { field },
  });
}

/** `ATTEMPT_NOT_BOUND`: the attempt has ended or never was this session's; its logs take nothing more. */
export function attemptNotBound(leaseId: string, attempt: number): DroverError {
  return new DroverError({
    code: 'ATTEMPT_NOT_BOUND',
    advice: 'conflict',
    message: `Attempt ${attempt} of lease ${leaseId} is not bound to this session (any more).`,
    details: { leaseId, attempt },
  });
}

/** `LOGS_BUSY`: too many bytes of logs are on their way to the store. */
export function logsBusy(pendingLogBytesMax: number): DroverError {
  return new DroverError({
    code: 'LOGS_BUSY',
    advice: 'exhausted',
    message: `${pendingLogBytesMax} bytes of logs wait for the store, which is the most allowed.`,
    retryAfterMs: 1_000,
  });
}

/** What an agent is told when its session ended for this reason. */
export function sessionEndError(
  session: { readonly sessionId: string; readonly agentId: string; readonly epoch: number },
  reason: SessionEnd,
  message: string,
  newerProcess: boolean,
): DroverError {
  switch (reason) {
    case 'fenced':
      // Without proof of another process the agent itself may be the newer one, or the store forgot the session.
      return newerProcess ? sessionFenced(session.agentId, session.epoch) : sessionUnknown(session.sessionId, message);
    case 'server-stopping':
      return serverStopping();
    case 'protocol-violation':
    case 'too-many-leases':
      return protocolViolation(message);
    case 'expired':
    case 'store-lost':
      return sessionUnknown(session.sessionId, message);
  }
}

/** `SESSION_UNKNOWN` for an ephemeral agent that has taken its lease and left; one that comes back all the same opens another. */
export function agentLeft(agentId: string): DroverError {
  return new DroverError({
    code: 'SESSION_UNKNOWN',
    advice: 'not-found',
    message: `The session of the ephemeral agent ${agentId} has ended: it has taken its lease and left.`,
    details: { agentId },
  });
}
