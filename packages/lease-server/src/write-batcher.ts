import { isDroverError, messageOf, type Clock, type Logger, type Principal } from '@drover/lease-kit';
import type { AttemptStore, AttemptWrite, AttemptWriteResult } from '@drover/lease-store';
import { isLasting, StoreRetry } from './store-retry.ts';

/** What became of an entry: an answer for each of its writes, or nobody knows. */
export type WriteAnswer = readonly AttemptWriteResult[] | 'unknown';

/** One session's writes, which stay together and in order. */
export interface WriteEntry {
  readonly writes: readonly AttemptWrite[];
  readonly done: (answer: WriteAnswer) => void;
}

/** Bounds and times of a {@link WriteBatcher}. */
export interface WriteBatcherOptions {
  /** Beyond so many waiting writes {@link WriteBatcher.room} blocks. */
  readonly pendingWritesMax: number;
  readonly retryMinMs: number;
  readonly retryMaxMs: number;
  readonly principal: Principal;
}

/** What a batcher works with. */
export interface WriteBatcherDeps {
  readonly attempts: Pick<AttemptStore, 'record'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** Most writes and bytes of output in one transaction. */
const batchWritesMax = 4_096;
const batchBytesMax = 16 * 1024 * 1024;
/** Tries of a batch that the store answers with a defect, before its entries are tried apart. */
const defectsMax = 4;

/**
 * Group commit for all sessions of a server: writes that arrive while a transaction is under way go together into the next
 * one. One transaction at a time; when the store is away, the same writes are tried again, for as long as it takes, which is
 * harmless since they are fenced and repeatable.
 */
export class WriteBatcher {
  readonly #options: WriteBatcherOptions;
  readonly #deps: WriteBatcherDeps;
  readonly #retry: StoreRetry;
  readonly #stopping = new AbortController();
  #queue: WriteEntry[] = [];
  #pending = 0;
  #active = false;
  #running: Promise<void> = Promise.resolve();
  #roomWaiters: (() => void)[] = [];

  constructor(options: WriteBatcherOptions, deps: WriteBatcherDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#retry = new StoreRetry(deps.clock, deps.random, options.retryMinMs, options.retryMaxMs);
  }

  /** Writes that the store has not answered. */
  get pending(): number {
    return this.#pending;
  }

  /** Queues an entry; `done` is called exactly once. */
  add(entry: WriteEntry): void {
    if (this.#stopping.signal.aborted) return entry.done('unknown');
    this.#queue.push(entry);
    this.#pending += entry.writes.length;
    if (this.#active) return;
    this.#active = true;
    this.#running = this.#run();
  }

  /** Undefined while there is room for more writes, else a promise that resolves when there is. */
  room(): Promise<void> | undefined {
    if (this.#pending <= this.#options.pendingWritesMax || this.#stopping.signal.aborted) return undefined;
    return new Promise((resolve) => this.#roomWaiters.push(resolve));
  }

  /** Resolves when everything that was added has its answer. */
  async idle(): Promise<void> {
    while (this.#active) await this.#running;
  }

  /** Answers what is left with `unknown` and takes nothing more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wakeRoom();
    await this.idle();
  }

  async #run(): Promise<void> {
    // Whatever else this turn of the event loop brings goes into the same transaction.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#cut();
      await this.#write(batch);
      this.#pending -= batch.reduce((sum, { writes }) => sum + writes.length, 0);
      if (this.#pending <= this.#options.pendingWritesMax / 2) this.#wakeRoom();
    }
    this.#active = false;
  }

  #cut(): WriteEntry[] {
    let writes = 0;
    let bytes = 0;
    let count = 0;
    for (const entry of this.#queue) {
      writes += entry.writes.length;
      for (const write of entry.writes) bytes += outputBytes(write);
      if (count > 0 && (writes > batchWritesMax || bytes > batchBytesMax)) break;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #write(batch: readonly WriteEntry[]): Promise<void> {
    const { signal } = this.#stopping;
    const writes = batch.flatMap((entry) => entry.writes);
    let results: readonly AttemptWriteResult[] | undefined;
    let defects = 0;
    while (results === undefined && !signal.aborted) {
      try {
        results = await this.#deps.attempts.record(writes, { principal: this.#options.principal });
        this.#retry.succeeded();
      } catch (error) {
        // A defect may pass, as a full disk does; one that stays must not hold up the writes of others for ever.
        if (isDroverError(error) && error.advice === 'internal') defects += 1;
        if (isLasting(error) || defects > defectsMax) return this.#isolate(batch, error);
        this.#deps.logger.warn({ err: error, writes: writes.length }, 'attempt writes failed; trying again');
        await this.#retry.wait(signal);
      }
    }
    let from = 0;
    for (const entry of batch) {
      this.#answer(entry, results?.slice(from, from + entry.writes.length) ?? 'unknown');
      from += entry.writes.length;
    }
  }

  #answer(entry: WriteEntry, answer: WriteAnswer): void {
    try {
      entry.done(answer);
    } catch (error) {
      // One session's defect must not stop the writes of all others.
      this.#deps.logger.error({ err: error, agentId: entry.writes[0]?.agentId }, 'a session failed on a write answer');
    }
  }

  /** One write that the store will never take must not hold up those of other sessions. */
  async #isolate(batch: readonly WriteEntry[], error: unknown): Promise<void> {
    if (batch.length > 1) {
      const middle = batch.length >> 1;
      await this.#write(batch.slice(0, middle));
      return this.#write(batch.slice(middle));
    }
    const entry = batch[0]!;
    this.#deps.logger.error({ err: error, agentId: entry.writes[0]?.agentId }, 'the store refuses an attempt write');
    const plain = entry.writes.map((write) => withoutContent(write, error));
    if (plain.some((write, index) => write !== entry.writes[index])) {
      return this.#write([{ writes: plain, done: entry.done }]);
    }
    this.#answer(entry, 'unknown');
  }

  #wakeRoom(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}

function outputBytes(write: AttemptWrite): number {
  return write.kind === 'end' ? (write.output?.value.byteLength ?? 0) : 0;
}

/** An end whose output or reason the store does not take still ends, as a failure that says so. */
function withoutContent(write: AttemptWrite, error: unknown): AttemptWrite {
  if (write.kind !== 'end' || (write.output === undefined && write.reason === undefined)) return write;
  const { output: _output, reason: _reason, succeeded: _succeeded, ...rest } = write;
  return {
    ...rest,
    outcome: write.outcome === 'completed' ? 'failed' : write.outcome,
    ...(write.outcome === 'completed'
      ? { reason: { code: 'OUTPUT_NOT_STORABLE', message: messageOf(error).slice(0, 1_000) } }
      : {}),
    noRetry: true,
  };
}
