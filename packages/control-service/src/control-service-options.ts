import type { HandlerContext } from '@connectrpc/connect';
import type { BlobPins, ContentStore } from '@drover/content-store';
import type { Clock, JobPlanner, Logger, Meter, Principal } from '@drover/lease-kit';
import type { SecretSealer } from '@drover/lease-secrets';
import type {
  AgentSettingsStore,
  LeaseQueue,
  PoolStore,
  StoreContext,
  JobStore,
  LogStore,
  SessionStore,
  StoreSignals,
} from '@drover/lease-store';
import type { FleetPolicy } from '@drover/fleet-policy';
import type { ImmediatePlacement } from '@drover/task-sources';

/** Bounds and times of the service. */
export interface ControlServiceOptions {
  /** Open `WatchJob` and following `ReadLog` calls; FOLLOWERS_FULL beyond. Default 1,024. */
  readonly followersMax?: number;
  /** How often a follower looks although no signal came, in ms. Default 1,000. */
  readonly pollMs?: number;
  /** A watcher is sent at most one state in this time, in ms. Default 100. */
  readonly watchSpacingMs?: number;
  /** The source of leases for whose payload no planner is registered. Default `job`. */
  readonly unplannedSource?: string;
}

/** Who works together in the service. */
export interface ControlServiceDeps {
  readonly store: {
    readonly jobs: JobStore;
    readonly logs: LogStore;
    readonly sessions: Pick<SessionStore, 'agent' | 'agents' | 'removeAgent'>;
    readonly queue: Pick<LeaseQueue, 'waitingWork'>;
    readonly pools: PoolStore;
    readonly agentSettings: AgentSettingsStore;
    readonly signals: StoreSignals;
  };
  /** One for each payload type that is planned. */
  readonly planners: readonly JobPlanner[];
  /** Type names of payloads that nobody may submit: only the server's own sources make leases of them. Default: none. */
  readonly reserved?: ReadonlySet<string>;
  /** On whose behalf a call is made; throws a DroverError with advice `denied` for a caller that is nobody. */
  readonly principalOf: (context: HandlerContext) => Principal;
  /**
   * Pools and what operators say about agents, the same that the servers of the fleet go by; `refresh` is called after a write
   * of this service. Absent: no pools, and nothing is said.
   */
  readonly policy?: FleetPolicy & { refresh?(): Promise<void> };
  /** Binds new leases to agents of this process at once. Absent: they wait and are claimed. */
  readonly placement?: ImmediatePlacement;
  /** Seals the secrets of jobs. Absent: a job with secrets is refused with SECRETS_UNAVAILABLE. */
  readonly secrets?: Pick<SecretSealer, 'seal'>;
  /** Where large payloads and outputs are. Absent: a payload is limited by the store's rows. */
  readonly blobs?: ContentStore & BlobPins;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
  /** Shows what waits and the states of agents to whoever reads the metrics. Absent: nothing is measured. */
  readonly meter?: Meter;
}

/** Runs a call that answers once, on behalf of its caller, with errors as the wire has them. */
export type UnaryCall = <T>(
  context: HandlerContext,
  run: (call: StoreContext & { readonly signal: AbortSignal }) => Promise<T>,
) => Promise<T>;
