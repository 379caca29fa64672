import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { DroverError, isDroverError, type CallContext, type LeaseEndpoint } from '@drover/lease-kit';
import {
  AgentCondition as WireCondition,
  AppendLogResponseSchema,
  FetchSecretsResponseSchema,
  OpenSessionResponseSchema,
  type AppendLogRequest,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
  type Reason,
} from '@drover/lease-protocol';
import { storedMessage, type ConditionReason } from '@drover/lease-store';
import { keyString } from '@drover/reconciler-state-machine';
import { resourceCounts } from '@drover/task-sources';
import type { AgentCondition, LeaseSession } from './lease-session.ts';
import { OutgoingCopies } from './outgoing-copies.ts';
import { PollLink } from './poll-link.ts';
import { secretsOf } from './secrets-of.ts';
import type { ServerParts } from './server-parts.ts';
import { copyInvalid, sessionUnknown } from './session-errors.ts';
import type { SessionRegistry } from './session-registry.ts';
import { agentCopyFromWire, listEntriesMax } from './wire-copies.ts';

const conditions: Readonly<Record<WireCondition, AgentCondition>> = {
  [WireCondition.UNSPECIFIED]: 'ready',
  [WireCondition.READY]: 'ready',
  [WireCondition.BUSY]: 'busy',
  [WireCondition.STOPPING]: 'stopping',
  [WireCondition.UNHEALTHY]: 'unhealthy',
};

const resourcesMax = 256;

/** What a transport calls, on the sessions of a registry. */
export function agentLink(parts: ServerParts, sessions: SessionRegistry): LeaseEndpoint {
  return {
    async openSession(request, context) {
      const session = await sessions.open(request, context);
      return create(OpenSessionResponseSchema, {
        sessionId: session.sessionId,
        epoch: BigInt(session.epoch),
        heartbeatInterval: durationFromMs(parts.timing.heartbeatMs),
        sessionTimeout: durationFromMs(parts.timing.sessionTimeoutMs),
        messageSizeMaxBytes: parts.limits.messageSizeMaxBytes,
      });
    },
    exchange: (requests, context) => openStream(parts, sessions, requests, context),
    async poll(request, waitMs, context) {
      const session = find(sessions, request, context);
      const link = session.link instanceof PollLink ? session.link : new PollLink(session, parts.clock);
      if (session.link !== link) session.openLink(link, parts.clock.monotonicMs());
      receive(parts, sessions, session, request);
      await parts.writes.room();
      return link.answer(Number(request.copy!.acknowledgedRevision), waitMs, context.signal);
    },
    async appendLog(request, context) {
      const session = findBeside(sessions, request, context);
      const committedBytes = await sessions.logs.append(session, request, context);
      return create(AppendLogResponseSchema, { committedBytes });
    },
    async fetchSecrets(request, context) {
      const session = findBeside(sessions, request, context);
      const secrets = await secretsOf(parts, session, request, context);
      return create(FetchSecretsResponseSchema, { secrets: Object.fromEntries(secrets) });
    },
  };
}

/** Runs one stream: a loop reads what the agent says, the answer object carries what the server says. */
function openStream(
  parts: ServerParts,
  sessions: SessionRegistry,
  requests: AsyncIterable<ExchangeLeasesRequest>,
  context: CallContext,
): AsyncIterable<ExchangeLeasesResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  let session: LeaseSession | undefined;
  const outgoing: OutgoingCopies = new OutgoingCopies(() => {
    context.signal.removeEventListener('abort', onAbort);
    session?.closeLink(outgoing, parts.clock.monotonicMs());
    void incoming.return?.().catch(() => undefined);
  });
  const onAbort = (): void => outgoing.end();
  context.signal.addEventListener('abort', onAbort, { once: true });
  if (context.signal.aborted) outgoing.end();

  const read = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await incoming.next();
      // A message that was read while the stream ended speaks for nobody.
      if (done === true || outgoing.ended) return;
      if (session === undefined) {
        session = find(sessions, value, context);
        session.openLink(outgoing, parts.clock.monotonicMs());
      } else if (session.link !== outgoing) {
        return;
      }
      receive(parts, sessions, session, value);
      // While the store is behind, agents are not read: what they have to say waits on their side.
      const room = parts.writes.room();
      if (room !== undefined) await room;
    }
  };
  read().then(
    () => outgoing.end(),
    (error: unknown) => outgoing.end(error),
  );
  return outgoing;
}

/** Like {@link find}. That a session is over says nothing about a log: its agent tries again in the next one. */
function findBeside(
  sessions: SessionRegistry,
  request: Pick<AppendLogRequest, 'sessionId' | 'epoch'>,
  context: CallContext,
): LeaseSession {
  try {
    const session = sessions.find(request.sessionId, context.principal);
    if (request.epoch === BigInt(session.epoch)) return session;
    throw sessionUnknown(request.sessionId, 'its epoch is another one');
  } catch (error) {
    if (!isDroverError(error) || error.advice === 'denied' || error.advice === 'fenced') throw error;
    throw new DroverError({ code: error.code, advice: 'unavailable', message: error.message, cause: error });
  }
}

function find(sessions: SessionRegistry, request: ExchangeLeasesRequest, context: CallContext): LeaseSession {
  if (request.copy === undefined) throw copyInvalid('copy is missing');
  return sessions.find(request.copy.sessionId, context.principal);
}

/** Applies one message of an agent. Throws `COPY_INVALID`, or `SESSION_UNKNOWN` for that of another session. */
function receive(
  parts: ServerParts,
  sessions: SessionRegistry,
  session: LeaseSession,
  request: ExchangeLeasesRequest,
): void {
  const copy = agentCopyFromWire(request.copy);
  if (copy.sessionId !== session.sessionId || copy.epoch !== session.epoch) {
    throw sessionUnknown(copy.sessionId, 'the link belongs to another session or epoch');
  }
  if (request.progress.length > listEntriesMax || Object.keys(request.resourcesUsedElsewhere).length > resourcesMax) {
    throw copyInvalid(`allowed: at most ${listEntriesMax} entries of progress and ${resourcesMax} resources`);
  }
  session.dispatch({ type: 'copy-received', copy, nowMs: parts.clock.monotonicMs() });
  const condition = conditions[request.condition] ?? 'unhealthy';
  const reason = conditionReason(request.conditionReason);
  if (session.report(condition, reason, resourceCounts(request.resourcesUsedElsewhere))) {
    sessions.recordCondition(session);
  }
  if (request.description !== undefined) sessions.describe(session, request.description);
  for (const progress of request.progress) {
    const held = session.held.get(keyString(progress));
    if (held !== undefined) parts.progress.add(held.key, progress, held.jobId);
  }
}

/** Throws `COPY_INVALID`. */
function conditionReason(reason: Reason | undefined): ConditionReason | undefined {
  if (reason === undefined) return undefined;
  const { code, message } = reason;
  if (!/^[A-Z][A-Z0-9_]{0,127}$/.test(code)) {
    throw copyInvalid('condition_reason.code: allowed: 1 to 128 characters, upper snake case');
  }
  return { code, message: storedMessage(message) };
}
