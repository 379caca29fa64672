import { createHash } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import {
  AgentCopySchema,
  AgentLeaseListSchema,
  AgentLeaseSchema,
  AgentState,
  ServerState,
  type AgentCopy as WireAgentCopy,
  type AgentLease as WireAgentLease,
  type ServerCopy as WireServerCopy,
  type ServerLease as WireServerLease,
} from '@drover/lease-protocol';
import type {
  AgentCopy,
  AgentLeaseState,
  ServerCopy,
  ServerLease,
  ServerLeaseState,
} from '@drover/reconciler-state-machine';

/** The digest of a list's canonical text: SHA-256 in lower case hexadecimal; 32 raw bytes on the wire. */
export function listDigest(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

const serverStates: Readonly<Record<number, ServerLeaseState | undefined>> = {
  [ServerState.OFFERED]: 'offered',
  [ServerState.ACCEPTED]: 'accepted',
  [ServerState.CANCELLING]: 'cancelling',
};

/** The agent's copy as it crosses the wire. A report is the entry itself, whole. */
export function agentCopyToWire(copy: AgentCopy<WireAgentLease>): WireAgentCopy {
  return create(AgentCopySchema, {
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
            value: create(AgentLeaseListSchema, {
              leases: copy.list.leases.map(
                ({ leaseId, attempt, state, report }) =>
                  report ?? create(AgentLeaseSchema, { leaseId, attempt, state: liveState(state) }),
              ),
            }),
          },
  });
}

const liveState = (state: AgentLeaseState): AgentState =>
  state === 'going-down' ? AgentState.GOING_DOWN : AgentState.ACCEPTED;

/**
 * A server's copy as the machine takes it, and the entries of a whole one for the engine. Throws `COPY_INVALID`: a server
 * that says such things is not understood, and another may be.
 */
export function serverCopyFromWire(wire: WireServerCopy | undefined): {
  readonly copy: ServerCopy;
  readonly entries: readonly WireServerLease[];
} {
  if (!wire) throw invalid('copy is missing');
  const header = {
    sessionId: wire.sessionId,
    epoch: whole('epoch', wire.epoch),
    revision: whole('revision', wire.revision),
    acknowledged: whole('acknowledged_revision', wire.acknowledgedRevision),
    wantsWhole: wire.wantsWholeCopy,
  };
  switch (wire.list.case) {
    case 'digest': {
      const digest = Buffer.from(wire.list.value).toString('hex');
      return { copy: { ...header, list: { kind: 'digest', digest } }, entries: [] };
    }
    case 'leases': {
      const entries = wire.list.value.leases;
      if (entries.length > 4_096) throw invalid(`leases has ${entries.length} entries, at most 4096 are allowed`);
      return { copy: { ...header, list: { kind: 'whole', leases: entries.map(serverLease) } }, entries };
    }
    default:
      throw invalid('list is missing');
  }
}

function serverLease(entry: WireServerLease, index: number): ServerLease {
  const state = serverStates[entry.state];
  if (!state || entry.leaseId === '' || entry.leaseId.length > 256 || entry.attempt < 1) {
    throw invalid(`leases[${index}] needs a lease_id of at most 256 characters, an attempt and a known state`);
  }
  return { leaseId: entry.leaseId, attempt: entry.attempt, state, withWork: entry.work.case !== undefined };
}

function whole(field: string, value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${field} is ${value}, at most 2^53 - 1 is allowed`);
  return Number(value);
}

const invalid = (message: string): DroverError =>
  new DroverError({ code: 'COPY_INVALID', advice: 'unavailable', message: `the server's copy: ${message}` });
