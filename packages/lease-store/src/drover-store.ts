import type { AgentHealthStore } from './agent-health-store.ts';
import type { AgentTaskStore } from './agent-task-store.ts';
import type { AccessStore } from './access-store.ts';
import type { AgentSettingsStore } from './agent-settings-store.ts';
import type { AttemptStore } from './attempt-store.ts';
import type { CompileStore } from './compile-store.ts';
import type { DrainStore } from './drain-store.ts';
import type { AuditStore } from './audit-store.ts';
import type { EnrolmentStore } from './enrolment-store.ts';
import type { JobStore } from './job-store.ts';
import type { LeaseQueue } from './lease-queue.ts';
import type { LogStore } from './log-store.ts';
import type { PoolStore } from './pool-store.ts';
import type { RolloutStore } from './rollout-store.ts';
import type { SessionStore } from './session-store.ts';
import type { StoreSignals } from './store-signals.ts';
import type { WorkspaceStore } from './workspace-store.ts';

/** Every port of one store, for a composition root to hand out piece by piece. */
export interface DroverStore extends AsyncDisposable {
  readonly queue: LeaseQueue;
  readonly attempts: AttemptStore;
  readonly sessions: SessionStore;
  readonly drains: DrainStore;
  readonly jobs: JobStore;
  readonly logs: LogStore;
  readonly agentTasks: AgentTaskStore;
  readonly agentHealth: AgentHealthStore;
  readonly access: AccessStore;
  readonly audit: AuditStore;
  readonly pools: PoolStore;
  readonly agentSettings: AgentSettingsStore;
  readonly enrolments: EnrolmentStore;
  readonly rollouts: RolloutStore;
  readonly workspaces: WorkspaceStore;
  readonly compiles: CompileStore;
  readonly signals: StoreSignals;
  /** Resolves when the store answers; rejects with STORE_UNAVAILABLE, SCHEMA_TOO_NEW or SCHEMA_TOO_OLD otherwise. */
  check(signal?: AbortSignal): Promise<void>;
  /** Closes connections and timers; idempotent. */
  close(): Promise<void>;
}
