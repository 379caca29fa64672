import { systemClock, type Clock } from '@drover/lease-kit';
import type { DroverStore } from './drover-store.ts';
import { memoryAgentHealthStore } from './memory/memory-agent-health-store.ts';
import { memoryAgentTaskStore } from './memory/memory-agent-task-store.ts';
import { memoryAccessStore } from './memory/memory-access-store.ts';
import { memoryAgentSettingsStore } from './memory/memory-agent-settings-store.ts';
import { memoryCompileStore } from './memory/memory-compile-store.ts';
import { memoryDrainStore } from './memory/memory-drain-store.ts';
import { memoryEnrolmentStore } from './memory/memory-enrolment-store.ts';
import { memoryAttemptStore } from './memory/memory-attempt-store.ts';
import { MemoryAudit, memoryAuditStore } from './memory/memory-audit-store.ts';
import { MemoryData } from './memory/memory-data.ts';
import { memoryJobStore } from './memory/memory-job-store.ts';
import { memoryLeaseQueue } from './memory/memory-lease-queue.ts';
import { memoryLogStore } from './memory/memory-log-store.ts';
import { memoryPoolStore } from './memory/memory-pool-store.ts';
import { memoryRolloutStore } from './memory/memory-rollout-store.ts';
import { memorySessionStore } from './memory/memory-session-store.ts';
import { memorySignals } from './memory/memory-signals.ts';
import { memoryWorkspaceStore } from './memory/memory-workspace-store.ts';

/** Collaborators of {@link createMemoryStore}. */
export interface MemoryStoreDeps {
  /** Its wall time is the store's time. Default: the system's. */
  readonly clock?: Clock;
}

/**
 * Every port in the memory of this process, for tests and simulations: it does what a database does, and forgets it with
 * the process. Several servers of one process may share it. Of the leases that have ended it keeps the last 10,000. Each
 * call happens at one go.
 */
export function createMemoryStore({ clock = systemClock }: MemoryStoreDeps = {}): DroverStore {
  const data = new MemoryData(clock);
  const signals = memorySignals();
  const audit = new MemoryAudit(data);
  const close = async (): Promise<void> => {
    data.isClosed = true;
    signals.close();
  };
  return {
    queue: memoryLeaseQueue(data),
    attempts: memoryAttemptStore(data),
    sessions: memorySessionStore(data, signals),
    drains: memoryDrainStore(data),
    jobs: memoryJobStore(data),
    logs: memoryLogStore(data),
    agentTasks: memoryAgentTaskStore(data),
    agentHealth: memoryAgentHealthStore(data, audit),
    access: memoryAccessStore(data, signals, audit),
    audit: memoryAuditStore(data, audit),
    pools: memoryPoolStore(data),
    agentSettings: memoryAgentSettingsStore(data),
    enrolments: memoryEnrolmentStore(data, audit),
    rollouts: memoryRolloutStore(data, audit),
    workspaces: memoryWorkspaceStore(data, audit),
    compiles: memoryCompileStore(data, audit),
    signals,
    check: async (signal) => data.enter(signal ? { signal } : {}),
    close,
    [Symbol.asyncDispose]: close,
  };
}
