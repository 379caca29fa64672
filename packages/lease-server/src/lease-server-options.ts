import type { Any } from '@bufbuild/protobuf/wkt';
import type { BlobPins, ContentStore } from '@drover/content-store';
import type { Clock, Logger, Meter, Principal, TaskSource } from '@drover/lease-kit';
import type { AgentAdmission } from './agent-admission.ts';
import type { FleetPolicy } from '@drover/fleet-policy';
import type { SecretSealer } from '@drover/lease-secrets';
import type {
  AttemptStore,
  DrainStore,
  JobStore,
  LeaseQueue,
  LogStore,
  SessionStore,
  StoreSignals,
} from '@drover/lease-store';

/** Bounds of a server. What goes over is refused with an error or waits; nothing grows beyond. */
export interface LeaseServerLimits {
  /** Sessions at once; SESSIONS_FULL beyond. Default 20,000. */
  readonly sessionsMax: number;
  /** Sessions that are being opened in the store at once; further calls wait, the first first. Default 16. */
  readonly openingsAtOnceMax: number;
  /** Attempts of one agent at once, whatever it asks for; at most 4,096. Default 1,024. */
  readonly leasesPerAgentMax: number;
  /** The most bytes of one message in either direction, as told to agents. Default 4 MiB. */
  readonly messageSizeMaxBytes: number;
  /** Attempt writes that wait for the store; beyond, messages of agents are not read. Default 65,536. */
  readonly pendingWritesMax: number;
  /** Bytes of logs on their way to the store; LOGS_BUSY beyond. Default 64 MiB. */
  readonly pendingLogBytesMax: number;
}

/** What holds where nothing else is said. */
export const defaultLeaseServerLimits: LeaseServerLimits = {
  sessionsMax: 20_000,
  openingsAtOnceMax: 16,
  leasesPerAgentMax: 1_024,
  messageSizeMaxBytes: 4 * 1024 * 1024,
  pendingWritesMax: 65_536,
  pendingLogBytesMax: 64 * 1024 * 1024,
};

/** Times of a server, in ms. */
export interface LeaseServerTiming {
  /** How long an agent may be silent before it sends a heartbeat. Default 20 s. */
  readonly heartbeatMs: number;
  /** How long after an agent's last answered message its session ends, as told to the agent. Default 60 s. */
  readonly sessionTimeoutMs: number;
  /** How much longer the server waits than the agent believes. Default 10 s. */
  readonly sessionGraceMs: number;
  /** How often the server says that it lives. Default 5 s. */
  readonly beatMs: number;
  /** A server that has not said so for this long counts as dead. Default 15 s. */
  readonly serverTtlMs: number;
  /** How long the agents of a dead server have to reach another one. Default 60 s. */
  readonly takeoverGraceMs: number;
  /** How often sessions that hold attempts are compared with the store, in case a signal was lost. Default 15 s. */
  readonly auditMs: number;
  /** Progress of one attempt is stored at most this often. Default 1 s. */
  readonly progressMs: number;
  /** Wait before a store call is tried again: doubled from min to max, with jitter. Default 50 ms and 2 s. */
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  /** A drain ends when its source has not repeated it for this long. Default 10 min. */
  readonly drainTtlMs: number;
}

/** What holds where nothing else is said. */
export const defaultLeaseServerTiming: LeaseServerTiming = {
  heartbeatMs: 20_000,
  sessionTimeoutMs: 60_000,
  sessionGraceMs: 10_000,
  beatMs: 5_000,
  serverTtlMs: 15_000,
  takeoverGraceMs: 60_000,
  auditMs: 15_000,
  progressMs: 1_000,
  retryMinMs: 50,
  retryMaxMs: 2_000,
  drainTtlMs: 600_000,
};

/** A server, as data. */
export interface LeaseServerOptions {
  /** Unique among the processes that share a store, and new with each process. Default: a random UUID. */
  readonly serverId?: string;
  readonly limits?: Partial<LeaseServerLimits>;
  readonly timing?: Partial<LeaseServerTiming>;
}

/** Who works together in a server. */
export interface LeaseServerDeps {
  readonly store: {
    readonly attempts: AttemptStore;
    readonly sessions: SessionStore;
    readonly drains: DrainStore;
    readonly queue: Pick<LeaseQueue, 'expire'>;
    readonly logs: LogStore;
    readonly jobs: Pick<JobStore, 'recordProgress'>;
    readonly signals: StoreSignals;
  };
  /** Asked in this order; names are unique. */
  readonly sources: readonly TaskSource[];
  /** Whether a principal may act as an agent. Asked at every call and for every link. */
  readonly authorizeAgent: (principal: Principal, agentId: string) => boolean;
  /** Lets agents in, and says which pools they are bound to. Absent: all that `authorizeAgent` lets in, bound to none. */
  readonly admission?: AgentAdmission | undefined;
  /** Pools, and what operators say about agents. Absent: no pools but those that agents ask for, and every agent may work. */
  readonly policy?: FleetPolicy;
  /** Whether the output of a completed attempt says that the work succeeded; undefined counts as yes. */
  readonly judge?: (output: Any) => boolean | undefined;
  /** Where large payloads and outputs are. Absent: none are large. */
  readonly blobs?: ContentStore & BlobPins;
  /** Opens the secrets of leases. Absent: leases with secrets get SECRETS_UNAVAILABLE. */
  readonly secrets?: Pick<SecretSealer, 'open'>;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default: silence. */
  readonly logger?: Logger;
  /** Default: nothing is measured. */
  readonly meter?: Meter;
}

/** Adds `authorizeAgent`'s usual rule: a principal of kind `agent` acts as the agent of its id, and nobody else does. */
export function agentActsForItself(principal: Principal, agentId: string): boolean {
  return principal.kind === 'agent' && principal.id === agentId;
}
