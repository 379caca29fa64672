import type { Child } from './child-process.ts';

/** A queue with its workers, as the suites drive it: Drover, or the peer. */
export interface LifecycleSystem extends AsyncDisposable {
  /** Stores so much new work in one statement and answers the ids, once it is committed. */
  enqueue(count: number): Promise<readonly string[]>;
  /** Resolves when so many handlers have started since the system did. */
  handlersStarted(count: number): Promise<void>;
  /** Whether the database holds no work that waits or runs: every completion is persisted. */
  allEnded(): Promise<boolean>;
  /** How much work of the system has ended otherwise than completed. */
  endedBadly(): Promise<number>;
}

/** What a process answers that counts the handlers that it has started. */
export type CountingMethods = {
  reached(count: number): Promise<void>;
  startedCount(): number;
};

/** Resolves when the processes have started so many handlers together. */
export async function startedTogether(
  workers: readonly Pick<Child<CountingMethods>, 'call'>[],
  count: number,
): Promise<void> {
  const [only] = workers;
  if (only !== undefined && workers.length === 1) return only.call('reached', count);
  // How several of them share the work is not known before. Asking costs them time, so that they are asked more often only
  // when the end is near.
  let before = 0;
  let pauseMs = 100;
  for (;;) {
    const counts = await Promise.all(workers.map((worker) => worker.call('startedCount')));
    const started = counts.reduce((sum, one) => sum + one, 0);
    if (started >= count) return;
    const roundsLeft = (count - started) / Math.max(1, started - before);
    if (roundsLeft < 2) pauseMs = 5;
    before = started;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
