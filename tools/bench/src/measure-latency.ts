import { setTimeout as sleep } from 'node:timers/promises';
import { monotonicMs } from './monotonic-ms.ts';
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
  /** Hands in one piece of work; resolves with its id when the client knows that it is stored. */
  handIn(): Promise<string>;
  /** Resolves when so many completions have been stored since the system started. */
  endsReached(count: number): Promise<void>;
  /** What the processes noted since they started. `stored` is absent where the client ran the statement itself. */
  takeMoments(): Promise<{
    readonly starts: readonly Moment[];
    readonly ends: readonly Moment[];
    readonly stored?: readonly {
      readonly handedIn: string;
      readonly id: string;
      readonly atMs: number;
      readonly onPath: boolean;
    }[];
  }>;
}

/** Pauses between two pieces of work are drawn from here, so that no timer of either side keeps step. */
const pauseMsMin = 4;
const pauseMsMax = 14;

/** Hands in one piece of work at a time, each after the one before has ended and been stored. */
export async function measureLatency(
  system: LatencySystem,
  counts: { readonly warmUp: number; readonly measured: number },
  signal: AbortSignal,
): Promise<readonly LatencySample[]> {
  const calls = new Map<string, { readonly callMs: number; readonly answerMs: number }>();
  for (let n = 1; n <= counts.warmUp + counts.measured; n += 1) {
    const callMs = monotonicMs();
    const id = await system.handIn();
    const answerMs = monotonicMs();
    if (n > counts.warmUp) calls.set(id, { callMs, answerMs });
    await system.endsReached(n);
    await sleep(pauseMsMin + Math.random() * (pauseMsMax - pauseMsMin), undefined, { signal });
  }
  const { starts, ends, stored } = await system.takeMoments();
  const startOf = new Map(starts);
  const endOf = new Map(ends);
  const storedOf = stored && new Map(stored.map((one) => [one.handedIn, one]));
  return [...calls].map(([handedIn, { callMs, answerMs }]) => {
    const known = storedOf?.get(handedIn);
    const id = known?.id ?? handedIn;
    const [startMs, endMs] = [startOf.get(id), endOf.get(id)];
    if (startMs === undefined || endMs === undefined || (storedOf && !known))
      throw new Error(`no times of ${handedIn}`);
    const commitMs = known?.atMs ?? answerMs;
    return {
      callToStartMs: startMs - callMs,
      commitToStartMs: startMs - commitMs,
      commitToEndMs: endMs - commitMs,
      callToEndMs: endMs - callMs,
      onPath: known?.onPath ?? true,
    };
  });
}
