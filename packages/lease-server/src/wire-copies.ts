import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { digestToWire } from '@drover/content-store';
import type { AssignedAttempt, LeaseDraft } from '@drover/lease-kit';
import {
  AgentState,
  BlobDigestSchema,
  ExchangeLeasesResponseSchema,
  ReasonSchema,
  ServerCopySchema,
  ServerLeaseListSchema,
  ServerLeaseSchema,
  ServerState,
  type AgentCopy as WireAgentCopy,
  type AgentLease as WireAgentLease,
  type ExchangeLeasesResponse,
  type ServerLease as WireServerLease,
} from '@drover/lease-protocol';
import {
  keyString,
  type AgentCopy,
  type AgentLease,
  type AgentLeaseState,
  type ServerCopy,
  type ServerLease,
  type ServerLeaseState,
} from '@drover/reconciler-state-machine';
import { referencedDigest } from '@drover/task-sources';
import type { HeldAttempt } from './held-attempt.ts';
import { copyInvalid } from './session-errors.ts';

/** Most attempts that an agent is told of ahead of their commit; the bound stands in the proto. */
export const upcomingMax = 16;

/** Most entries of one list; the bound stands in the proto. */
export const listEntriesMax = 4_096;

/** The digest of a list's canonical text: SHA-256 in lower case hexadecimal, 32 raw bytes on the wire. */
export function listDigest(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

const agentStates: Readonly<Record<number, AgentLeaseState | undefined>> = {
  [AgentState.ACCEPTED]: 'accepted',
  [AgentState.GOING_DOWN]: 'going-down',
  [AgentState.REFUSED]: 'refused',
  [AgentState.FINISHED]: 'finished',
};

const serverStates: Readonly<Record<ServerLeaseState, ServerState>> = {
  offered: ServerState.OFFERED,
  accepted: ServerState.ACCEPTED,
  cancelling: ServerState.CANCELLING,
};

/** What the agent says of an attempt's end: its own entry, whole. */
export type AgentReport = WireAgentLease;

/** An agent's copy as the machine takes it. Throws `COPY_INVALID`. */
export function agentCopyFromWire(wire: WireAgentCopy | undefined): AgentCopy<AgentReport> {
  if (wire === undefined) throw copyInvalid('copy is missing');
  const header = {
    sessionId: wire.sessionId,
    epoch: wholeFromWire('copy.epoch', wire.epoch),
    revision: wholeFromWire('copy.revision', wire.revision),
    acknowledged: wholeFromWire('copy.acknowledged_revision', wire.acknowledgedRevision),
    wantsWhole: wire.wantsWholeCopy,
  };
  switch (wire.list.case) {
    case 'digest':
      return { ...header, list: { kind: 'digest', digest: Buffer.from(wire.list.value).toString('hex') } };
    case 'leases': {
      const { leases } = wire.list.value;
      if (leases.length > listEntriesMax) {
        throw copyInvalid(`copy.leases has ${leases.length} entries; allowed: at most ${listEntriesMax}`);
      }
      return { ...header, list: { kind: 'whole', leases: leases.map(agentLeaseFromWire) } };
    }
    default:
      throw copyInvalid('copy.list is missing; allowed: leases or digest');
  }
}

function agentLeaseFromWire(lease: WireAgentLease, index: number): AgentLease<AgentReport> {
  const state = agentStates[lease.state];
  if (state === undefined || lease.leaseId === '' || lease.attempt < 1) {
    throw copyInvalid(`copy.leases[${index}] needs a lease_id, an attempt of at least 1 and a known state`);
  }
  const key = { leaseId: lease.leaseId, attempt: lease.attempt };
  const isLive = state === 'accepted' || state === 'going-down';
  return isLive ? { ...key, state } : { ...key, state, report: lease };
}

function wholeFromWire(field: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw copyInvalid(`${field} is ${value}; allowed: at most 2^53 - 1`);
  return Number(value);
}

/**
 * The server's copy as it crosses the wire. `workBytesMax` bounds the work that goes with it: offers come first, since an
 * agent that proved an attempt has its work already. `stream` is what carries it now; work that it has carried before is left
 * out. Without one the work goes with every copy until the agent acknowledges it.
 */
export function serverCopyToWire(
  copy: ServerCopy,
  held: ReadonlyMap<string, HeldAttempt>,
  workBytesMax: number,
  stream?: object,
): ExchangeLeasesResponse {
  return create(ExchangeLeasesResponseSchema, {
    copy: create(ServerCopySchema, {
      sessionId: copy.sessionId,
      epoch: BigInt(copy.epoch),
      revision: BigInt(copy.revision),
      acknowledgedRevision: BigInt(copy.acknowledged),
      wantsWholeCopy: copy.wantsWhole,
      list:
        copy.list.kind === 'digest'
          ? { case: 'digest', value: Buffer.from(copy.list.digest, 'hex') }
          : {
              case: 'leases',
              value: create(ServerLeaseListSchema, {
                leases: leasesToWire(copy.list.leases, held, workBytesMax, stream),
              }),
            },
    }),
  });
}

function leasesToWire(
  leases: readonly ServerLease[],
  held: ReadonlyMap<string, HeldAttempt>,
  workBytesMax: number,
  stream: object | undefined,
): WireServerLease[] {
  let leftBytes = workBytesMax;
  const needsWork = (lease: ServerLease, details: HeldAttempt | undefined): boolean =>
    lease.withWork && details !== undefined && (stream === undefined || details.workSentOn !== stream);
  const isNews = (lease: ServerLease, details: HeldAttempt | undefined): boolean =>
    lease.state === 'offered' && details?.proven !== true;
  for (const lease of leases) {
    const details = held.get(keyString(lease));
    if (needsWork(lease, details) && isNews(lease, details)) leftBytes -= details!.workBytes;
  }
  return leases.map((lease) => {
    const details = held.get(keyString(lease));
    let withWork = needsWork(lease, details);
    if (withWork && !isNews(lease, details)) {
      leftBytes -= details!.workBytes;
      withWork = leftBytes >= 0;
    }
    if (withWork) details!.workSentOn = stream;
    return leaseToWire(lease, details, withWork);
  });
}

/** Drafts whose first attempts are being bound, as their agent is told of them ahead of the commit. */
export function upcomingToWire(drafts: readonly LeaseDraft[]): ExchangeLeasesResponse {
  return create(ExchangeLeasesResponseSchema, {
    upcoming: drafts.map((draft) => {
      const wire = create(ServerLeaseSchema, { leaseId: draft.leaseId, attempt: 1, state: ServerState.OFFERED });
      addWork(wire, draft);
      return wire;
    }),
  });
}

function leaseToWire(lease: ServerLease, held: HeldAttempt | undefined, withWork: boolean): WireServerLease {
  const wire = create(ServerLeaseSchema, {
    leaseId: lease.leaseId,
    attempt: lease.attempt,
    state: serverStates[lease.state],
  });
  if (lease.state === 'cancelling') {
    wire.cancelReason = create(ReasonSchema, {
      code: held?.cancelCode ?? 'LEASE_CANCELLED',
      message: held?.cancelReason || 'It is no longer wanted.',
    });
  }
  if (held !== undefined && withWork) addWork(wire, held.attempt);
  return wire;
}

function addWork(
  wire: WireServerLease,
  work: Pick<AssignedAttempt, 'payload' | 'requirements' | 'runLimitMs' | 'cancelGraceMs' | 'timeouts'>,
): void {
  const digest = referencedDigest(work.payload);
  wire.work =
    digest === undefined
      ? { case: 'payload', value: work.payload }
      : { case: 'payloadDigest', value: create(BlobDigestSchema, digestToWire(digest)) };
  for (const [name, count] of Object.entries(work.requirements.resources ?? {})) {
    wire.resources[name] = BigInt(count);
  }
  wire.exclusive = work.requirements.exclusive ?? false;
  if (work.runLimitMs > 0) wire.runLimit = durationFromMs(work.runLimitMs);
  wire.cancelGrace = durationFromMs(work.cancelGraceMs);
  const progressMsMax = work.timeouts?.progressMsMax;
  if (progressMsMax !== undefined) wire.progressLimit = durationFromMs(progressMsMax);
}
