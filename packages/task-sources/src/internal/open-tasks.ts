import type { OpenAgentTask } from '@drover/lease-store';

/** An open task, with what is known of it in this process. */
export interface KnownTask {
  readonly task: OpenAgentTask;
  readonly dueAtMs: number;
  /** Until when its agent has a place to be drained; 0 for none. */
  drainUntilMs: number;
  /** A cap kept it back. */
  isFull: boolean;
  /** Its plan said: not yet. */
  isPlannedToWait: boolean;
  /** The agent's session was not to be had, perhaps because its row was being written: nothing else may ask about it again. */
  isMissed: boolean;
}

const notKeptBack = { isFull: false, isPlannedToWait: false, isMissed: false };

/** The open tasks of one source, by agent. */
export class OpenTasks {
  #byAgent = new Map<string, KnownTask>();

  of(agentId: string): KnownTask | undefined {
    return this.#byAgent.get(agentId);
  }

  /** It is not open any more. */
  forget(agentId: string): void {
    this.#byAgent.delete(agentId);
  }

  /** Takes what was read. True if agents should be asked about: one is new or due since, or may get what it did not before. */
  replace(tasks: readonly OpenAgentTask[], nowMs: number, drainTtlMs: number): boolean {
    const before = this.#byAgent;
    this.#byAgent = new Map();
    let isNews = false;
    for (const task of tasks) {
      const old = before.get(task.agentId);
      const isSame = old?.task.revision === task.revision;
      const dueAtMs = nowMs + task.dueMs;
      const isDue = dueAtMs <= nowMs;
      const wasDue = isSame && old.task.dueMs === 0;
      if (isDue && (!wasDue || old.isFull || old.isPlannedToWait || old.isMissed)) isNews = true;
      // A drain of which this process does not know is another server's, or its own before a failure: it is asked for anew.
      const drainUntilMs = isSame && task.draining ? Math.min(old.drainUntilMs, nowMs + drainTtlMs) : 0;
      this.#byAgent.set(task.agentId, { task, dueAtMs, drainUntilMs, ...notKeptBack });
    }
    return isNews;
  }

  /**
   * When a task falls due next, or a place is to be asked for again; undefined for never. A place whose time for that has
   * passed is none: its agent cannot be asked about (it is away, or with another server), so that it is left to the poll.
   */
  nextMs(nowMs: number, renewMs: number): number | undefined {
    let next: number | undefined;
    for (const { dueAtMs, drainUntilMs } of this.#byAgent.values()) {
      const atMs = dueAtMs > nowMs ? dueAtMs : drainUntilMs - renewMs;
      if (atMs > nowMs && (next === undefined || atMs < next)) next = atMs;
    }
    return next;
  }

  /** True if a place that still lasts should have been asked for again. */
  hasLatePlace(nowMs: number, renewMs: number): boolean {
    return this.#byAgent.values().some(({ drainUntilMs }) => drainUntilMs > nowMs && drainUntilMs - renewMs <= nowMs);
  }
}
