import type { Clock, LeaseClient, LeaseHandler, Logger } from '@drover/lease-kit';
import type { ResourceLedger } from '@drover/resource-ledger';
import type { ConditionReason } from './agent-voice.ts';
import type { MachineSource } from './describe-machine.ts';

/** An agent, as data. */
export interface LeaseAgentOptions {
  /** Where the agent keeps its journal, its id and the folders of attempts: its own, on a disk that outlives restarts. */
  readonly stateDir: string;
  /** Unique in the fleet, at most 128 characters. Absent: drawn once and kept in `stateDir`. */
  readonly agentId?: string;
  /** For people. Default: the host's name. */
  readonly name?: string;
  /** Version of the software that the agent is part of. Default `0.0.0`. */
  readonly version?: string;
  /** Properties beside those of the machine (`os`, `arch`, `hostname`, `cpus`, `ram`, `node`, …), which they replace. */
  readonly properties?: Readonly<Record<string, string | readonly string[]>>;
  /** Counted resources beside those of the machine (`cores`, `ram` in bytes), which they replace. */
  readonly resources?: Readonly<Record<string, number>>;
  /** Pools that the agent asks to be in. Default none. */
  readonly pools?: readonly string[];
  /** How many attempts it holds at once, ended ones that are not settled included; 1 to 4,096. Default: one a core. */
  readonly leasesMax?: number;
  /**
   * Takes one lease and leaves: once that has ended, the agent has drained, and the server forgets it. `leasesMax` is then 1.
   * Default false.
   */
  readonly ephemeral?: boolean;
  readonly limits?: Partial<LeaseAgentLimits>;
  readonly timing?: Partial<LeaseAgentTiming>;
}

/** Bounds of an agent. */
export interface LeaseAgentLimits {
  /** Outputs above this go to the blob store; without one, they are told inline while a copy has room. Default 64 KiB. */
  readonly outputInlineBytesMax: number;
  /** Largest payload that is fetched by digest. Default 64 MiB. */
  readonly payloadSizeBytesMax: number;
  /** Largest message, as the transport is set up; a server may ask for less. Default 4 MiB. */
  readonly messageSizeMaxBytes: number;
}

/** Times of an agent, in ms. */
export interface LeaseAgentTiming {
  /** Wait before a session or link is opened again: doubled from min to max, then up to as much again by chance. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** How often progress is told at the most. Default 250. */
  readonly progressMs: number;
  /**
   * How long `stop({ how: 'cancel' })`, and a stop while a handler has said that the agent goes down, waits for the server after
   * the last other handler has returned. Default 10 s.
   */
  readonly settleMs: number;
  /** How long the end of a log waits for a server that takes nothing of it. Default 30 s. */
  readonly logStallMs: number;
  /** How long a large output waits for the blob store. Default 10 min. */
  readonly outputStoreMs: number;
}

/** What holds where nothing else is said. */
export const defaultLeaseAgentLimits: LeaseAgentLimits = {
  outputInlineBytesMax: 64 * 1024,
  payloadSizeBytesMax: 64 * 1024 * 1024,
  messageSizeMaxBytes: 4 * 1024 * 1024,
};

/** What holds where nothing else is said. */
export const defaultLeaseAgentTiming: LeaseAgentTiming = {
  backoffMinMs: 200,
  backoffMaxMs: 15_000,
  progressMs: 250,
  settleMs: 10_000,
  logStallMs: 30_000,
  outputStoreMs: 600_000,
};

/** Names a blob: lower-case hexadecimal SHA-256 and size. */
export interface BlobName {
  readonly hash: string;
  readonly sizeBytes: number;
}

/** Where large payloads come from and large outputs go. */
export interface AgentBlobs {
  /** The whole blob. The agent checks that it is the one it asked for. */
  read(blob: BlobName, signal: AbortSignal): Promise<Uint8Array>;
  /** Keeps a blob; returns when a crash of the store does not lose it. Absent: outputs stay inline. */
  write?(blob: BlobName, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
}

/** Who works together in an agent. */
export interface LeaseAgentDeps {
  /** The server, e.g. `createLeaseClient` of `@drover/lease-transport`. The caller closes it after the agent. */
  readonly client: LeaseClient;
  readonly handlers: readonly LeaseHandler[];
  readonly blobs?: AgentBlobs;
  /** The machine's ledger, when something else uses the machine too. Absent: the agent's own. */
  readonly ledger?: ResourceLedger;
  /** What the machine is. Default: `describeMachine()`, once. */
  readonly machine?: MachineSource;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** From 0 to below 1. Default `Math.random`. */
  readonly random?: () => number;
  /** Default: silence. */
  readonly logger?: Logger;
  /** Told what happens, in order; must be quick and not throw. */
  readonly onEvent?: (event: LeaseAgentEvent) => void;
}

/** What happens in an agent, for metrics and displays. */
export type LeaseAgentEvent =
  | { readonly type: 'session-opened'; readonly sessionId: string; readonly epoch: number }
  | { readonly type: 'session-failed' | 'link-lost'; readonly code: string; readonly message: string }
  | { readonly type: 'attempt-refused'; readonly leaseId: string; readonly attempt: number; readonly code: string }
  | {
      readonly type: 'attempt-started';
      readonly leaseId: string;
      readonly attempt: number;
      readonly leaseType: string;
      readonly resumed: boolean;
    }
  | {
      readonly type: 'attempt-ended';
      readonly leaseId: string;
      readonly attempt: number;
      readonly outcome: string;
      /** Absent when it completed. */
      readonly code?: string;
    }
  | { readonly type: 'journal-failed'; readonly code: string; readonly message: string }
  | { readonly type: 'journal-recovered' }
  /** The machine has become another one; the server is told. */
  | { readonly type: 'description-changed' }
  /** Whether it takes work has changed: for those who use the machine beside it. */
  | { readonly type: 'condition-changed'; readonly condition: LeaseAgentStatus['condition'] }
  | { readonly type: 'exit'; readonly reason: ExitReason };

/**
 * Why an agent ended.
 *
 * - `drained`: asked to stop; all its work is settled.
 * - `unsettled`: asked to stop; the server did not confirm everything in time. The journal keeps it for the next start.
 * - `going-down`: asked to stop while a handler had said that the machine goes down. Its attempt, and what was not settled in
 *   time, is in the journal: the next process resumes it.
 * - `handing-over`: the same, because a handler wants another process to take over, e.g. a newer version.
 * - `fenced`: another process has the same agent id.
 * - `quarantined`: two processes took turns with one agent id, and the server locked both out.
 */
export type ExitReason = 'drained' | 'unsettled' | 'going-down' | 'handing-over' | 'fenced' | 'quarantined';

/** Where an agent stands. */
export interface LeaseAgentStatus {
  readonly agentId: string;
  readonly condition: 'ready' | 'busy' | 'stopping' | 'unhealthy';
  /** Why, where there is more to say. */
  readonly conditionReason?: ConditionReason;
  /** Absent while there is none. */
  readonly session?: { readonly sessionId: string; readonly epoch: number; readonly linked: boolean };
  readonly attempts: readonly {
    readonly leaseId: string;
    readonly attempt: number;
    /** E.g. `considering`, `running`, `finished`: see `HoldingPhase` of `@drover/reconciler-state-machine`. */
    readonly phase: string;
    /** Absent while it is not known. */
    readonly leaseType?: string;
  }[];
  readonly resources: {
    readonly total: Readonly<Record<string, number>>;
    readonly free: Readonly<Record<string, number>>;
  };
  /** Absent while the agent has not ended. */
  readonly exit?: ExitReason;
}

/** An agent that runs in this process. */
export interface LeaseAgent extends AsyncDisposable {
  readonly agentId: string;
  /** The machine's one count of resources: whoever uses the machine beside the leases takes his from it. */
  readonly ledger: ResourceLedger;
  /**
   * Takes the state folder, takes up what an earlier process left, and opens a session. Resolves when the folder is read;
   * the server may be away. Throws `AGENT_STATE_IN_USE` and `JOURNAL_UNKNOWN`. Starting twice is harmless.
   */
  start(): Promise<void>;
  /** `stop({ how: 'drain' })`. */
  drain(): Promise<ExitReason>;
  /**
   * Takes no new work and ends when what runs has ended (`drain`) or has been stopped (`cancel`). May be called again to
   * turn a drain into a cancel. An attempt whose handler has said that the agent goes down is neither waited for nor stopped:
   * what else runs is stopped, and then the agent ends at once. Resolves like {@link done}.
   */
  stop(options: { readonly how: 'drain' | 'cancel' }): Promise<ExitReason>;
  /** The machine is needed for something else: no new work, and what runs is stopped. Or no longer. */
  setBusy(busy: boolean, reason?: ConditionReason): void;
  /** Something is wrong with the machine: no new work, and what runs goes on. `undefined`: no longer. */
  setUnhealthy(problem: ConditionReason | undefined): void;
  /**
   * Names of the folders in `attempts` of the state folder that belong to attempts which it holds, or whose handler may still
   * run: whoever cleans up leaves them alone. Undefined before the start: all may.
   */
  attemptFolders(): ReadonlySet<string> | undefined;
  status(): LeaseAgentStatus;
  /** Resolves when the agent has ended and let go of everything. Rejects only for a defect. */
  readonly done: Promise<ExitReason>;
}
