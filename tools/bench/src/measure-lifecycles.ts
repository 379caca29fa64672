import type { BenchPostgres } from './bench-postgres.ts';
import type { LifecycleSystem } from './lifecycle-system.ts';
import { monotonicMs } from './monotonic-ms.ts';

/** How work is put into the queue. */
export interface EnqueueMode {
  readonly name: 'single' | 'batched';
  /** New leases or jobs of one statement. */
  readonly perStatement: number;
  /** Of one measurement. */
  readonly count: number;
}

/** One measurement. */
export interface LifecycleSample {
  /** Whole lifecycles a second, from the first enqueue to the last persisted completion. */
  readonly perSecond: number;
  /** Until the last enqueue was committed, a second. */
  readonly enqueuedPerSecond: number;
  readonly walBytesEach: number;
  /** Transactions that wrote. */
  readonly writeCommitsEach: number;
  /** Share of the work whose handler ran in the worker's process, once, and completed. */
  readonly measuredShare: number;
}

/** Clients that enqueue at the same time, each waiting for its commit before the next statement. */
export const clientCount = 8;

const pollMs = 2;
const timeLimitMs = 180_000;

/** Puts so much work through a system, in statements of one mode, and waits until every completion is persisted. */
export async function runLifecycles(system: LifecycleSystem, mode: EnqueueMode, before: number): Promise<number> {
  let left = mode.count;
  const client = async (): Promise<void> => {
    while (left > 0) {
      const count = Math.min(mode.perStatement, left);
      left -= count;
      await system.enqueue(count);
    }
  };
  const started = system.handlersStarted(before + mode.count);
  await Promise.all(Array.from({ length: clientCount }, client));
  const enqueuedMs = monotonicMs();
  const untilMs = performance.now() + timeLimitMs;
  // The database is asked only when the end is near: asking costs both sides the same, but more while their tables are full.
  await Promise.race([started, timeUp(timeLimitMs)]);
  while (!(await system.allEnded())) {
    if (performance.now() > untilMs) throw new Error(`the work has not ended after ${timeLimitMs / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return enqueuedMs;
}

/** Measures one mode on a system that was just started, after a warm-up. */
export async function measureLifecycles(
  postgres: BenchPostgres,
  system: LifecycleSystem,
  mode: EnqueueMode,
  settle: () => Promise<void>,
): Promise<LifecycleSample> {
  const warmUp = Math.ceil(mode.count / 5);
  await runLifecycles(system, { ...mode, count: warmUp }, 0);
  await postgres.checkpoint();
  await settle();
  const before = await postgres.counters();
  const startMs = monotonicMs();
  const enqueuedMs = await runLifecycles(system, mode, warmUp);
  const endMs = monotonicMs();
  const after = await postgres.counters();
  const bad = await system.endedBadly();
  return {
    perSecond: (mode.count / (endMs - startMs)) * 1_000,
    enqueuedPerSecond: (mode.count / (enqueuedMs - startMs)) * 1_000,
    walBytesEach: (after.walBytes - before.walBytes) / mode.count,
    writeCommitsEach: (after.writeCommits - before.writeCommits) / mode.count,
    measuredShare: 1 - bad / mode.count,
  };
}

function timeUp(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
