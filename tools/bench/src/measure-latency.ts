import { setTimeout as sleep } from 'node:timers/promises';
import type { Moment } from './noted-moments.ts';

/** What became of one piece of work, in ms; the clock is the machine's. */
export interface LatencySample {
  /** From just before the client's call to the handler's start. */
  readonly callToStartMs: number;
  /** From the commit, as the process that ran the statement saw it, to the handler's start. Negative if that came first. */
  readonly commitToStartMs: number;
  /** From the same commit to that of the completion, as the process that ran that statement saw it. */
  readonly commitToEndMs: number;
  readonly callToEndMs: number;
  /** The work took the way that the measurement is about. */
  readonly onPath: boolean;
}

/** A queue with its workers, as the latency of single pieces of work is measured. */
export interface LatencySystem extends AsyncDisposable {
  /** Hands in pieces of work at the same time and waits until their ends are stored: so that all code has run often. */
  warmUp(count: number): Promise<void>;
  /**
   * Hands in the one that is the `count`th since the system started; resolves when its end is stored. What tells of the end
   * is asked before, so that between the commit and the start no process has anything to do for the measurement.
   */
  runOne(count: number): Promise<HandedIn>;
  /** What the processes noted since they started. */
  takeMoments(): Promise<{ readonly starts: readonly Moment[]; readonly ends: readonly Moment[] }>;
}

/** One piece of work, and when it was handed in and stored. */
export interface HandedIn {
  readonly id: string;
  /** Just before the client's call. */
  readonly callMs: number;
  /** When the statement that committed it was seen to answer by the process that ran it. */
  readonly commitMs: number;
  readonly onPath: boolean;
}

/** Pauses between two pieces of work are drawn from here, so that no timer of either side keeps step. */
const pauseMsMin = 4;
const pauseMsMax = 14;

/** Hands in one piece of work at a time, each after the one before has ended and been stored. */
export async function measureLatency(
  system: LatencySystem,
  counts: { readonly warmUp: number; readonly settle: number; readonly measured: number },
  signal: AbortSignal,
): Promise<readonly LatencySample[]> {
  await system.warmUp(counts.warmUp);
  const measured: HandedIn[] = [];
  for (let n = 1; n <= counts.settle + counts.measured; n += 1) {
    const one = await system.runOne(counts.warmUp + n);
    if (n > counts.settle) measured.push(one);
    await sleep(pauseMsMin + Math.random() * (pauseMsMax - pauseMsMin), undefined, { signal });
  }
  const { starts, ends } = await system.takeMoments();
  const startOf = new Map(starts);
  const endOf = new Map(ends);
  return measured.map(({ id, callMs, commitMs, onPath }) => {
    const [startMs, endMs] = [startOf.get(id), endOf.get(id)];
    if (startMs === undefined || endMs === undefined) throw new Error(`no times of ${id}`);
    return {
      callToStartMs: startMs - callMs,
      commitToStartMs: startMs - commitMs,
      commitToEndMs: endMs - commitMs,
      callToEndMs: endMs - callMs,
      onPath,
    };
  });
}

/** Hands in so many pieces of work, as many at the same time as there are clients. */
export async function handInMany(count: number, clients: number, handIn: () => Promise<unknown>): Promise<void> {
  let left = count;
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      await handIn();
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}
