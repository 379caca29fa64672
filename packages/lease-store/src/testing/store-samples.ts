import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt';
import { isDroverError, type AssignedAttempt, type LeaseDraft, type Principal } from '@drover/lease-kit';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import type { AttemptOutcome, AttemptWrite } from '../attempt-store.ts';
import type { DroverStore } from '../drover-store.ts';
import type { JobDraft } from '../job-store.ts';
import type { EnqueueEntry, SessionRef } from '../lease-queue.ts';
import type { NewSession, OpenedSession } from '../session-store.ts';

/** On whose behalf the cases call. */
export const sampleContext: { readonly principal: Principal } = { principal: { kind: 'service', id: 'compliance' } };

/** A packed message whose bytes are these. */
export function samplePayload(...bytes: number[]): Any {
  return create(AnySchema, { typeUrl: 'type.googleapis.com/drover.test.v1.Work', value: new Uint8Array(bytes) });
}

/** A draft that any agent may take, never retried unless `changes` say so. */
export function sampleDraft(changes: Partial<LeaseDraft> = {}): LeaseDraft {
  return {
    leaseId: randomUUID(),
    source: 'job',
    name: 'sample',
    payload: samplePayload(1, 2, 3),
    requirements: {},
    priority: 0,
    runLimitMs: 60_000,
    cancelGraceMs: 1_000,
    retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
    ...changes,
  };
}

/** A lease to store. */
export function sampleEntry(changes: Partial<LeaseDraft> = {}, bindTo?: SessionRef): EnqueueEntry {
  return { draft: sampleDraft(changes), ...(bindTo ? { bindTo } : {}) };
}

/** A job with as many leases as `leases` has entries. */
export function sampleJob(leases: readonly Partial<LeaseDraft>[] = [{}], bindTo?: SessionRef): JobDraft {
  const jobId = randomUUID();
  return {
    jobId,
    name: 'sample job',
    payload: samplePayload(7),
    priority: 3,
    leases: leases.map((changes) => ({ ...sampleEntry(changes, bindTo), jobId })),
  };
}

/** Opens a session of `agentId`. */
export function openSample(
  store: DroverStore,
  agentId: string,
  changes: Partial<NewSession> = {},
): Promise<OpenedSession> {
  return store.sessions.openSession(
    {
      agentId,
      sessionId: randomUUID(),
      serverId: 'server-1',
      instanceNonce: `nonce of ${agentId}`,
      description: create(AgentDescriptionSchema, { name: agentId, leasesMax: 8 }),
      proven: [],
      ...changes,
    },
    sampleContext,
  );
}

/** Opens a session and names it. */
export async function sampleSession(store: DroverStore, agentId: string): Promise<SessionRef> {
  return { agentId, epoch: (await openSample(store, agentId)).epoch };
}

/** Claims whatever waits for a source. */
export async function claimAll(
  store: DroverStore,
  places: readonly SessionRef[],
  source = 'job',
): Promise<readonly AssignedAttempt[]> {
  const classes = await store.queue.waitingClasses(source, sampleContext);
  return store.queue.claim({ source, classIds: classes.map(({ classId }) => classId), places }, sampleContext);
}

/** Stores a lease that is bound at once. */
export async function boundSample(
  store: DroverStore,
  session: SessionRef,
  changes: Partial<LeaseDraft> = {},
): Promise<AssignedAttempt> {
  const [assigned] = await store.queue.enqueue([sampleEntry(changes, session)], sampleContext);
  assert.ok(assigned, 'a lease is bound to a current session');
  return assigned;
}

/** The acceptance of an attempt. */
export function acceptanceOf({ leaseId, attempt, agentId, epoch }: AssignedAttempt): AttemptWrite {
  return { kind: 'acceptance', leaseId, attempt, agentId, epoch };
}

/** The end of an attempt. */
export function endOf(
  { leaseId, attempt, agentId, epoch }: Pick<AssignedAttempt, 'leaseId' | 'attempt' | 'agentId' | 'epoch'>,
  outcome: AttemptOutcome = 'completed',
  changes: Partial<Extract<AttemptWrite, { kind: 'end' }>> = {},
): AttemptWrite {
  return { kind: 'end', leaseId, attempt, agentId, epoch, outcome, noRetry: false, ...changes };
}

/** Fails unless the promise rejects with this code. */
export function rejectsWith(promise: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(
    promise,
    (error) => isDroverError(error, code) || assert.fail(`${code} expected, got ${String(error)}`),
  );
}
