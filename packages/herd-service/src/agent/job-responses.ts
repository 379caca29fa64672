import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { RunJobResponseSchema, type RunJobResponse } from '@drover/herd-protocol';
import { herdError } from './herd-errors.ts';
import type { HerdLimits } from './herd-limits.ts';

/** What a response says. */
export type JobMessage = Exclude<MessageInitShape<typeof RunJobResponseSchema>['message'], undefined>;

/** Who is told of readers. */
export interface JobResponsesDeps {
  readonly limits: Pick<HerdLimits, 'responsesKeptMax' | 'responsesKeptBytesMax'>;
  /** False: what a reader has taken counts as acknowledged. */
  readonly isKept: boolean;
  onReader(): void;
  /** The last reader has gone. */
  onNoReader(): void;
  /** There is room for more than before. */
  onRoom(): void;
}

/** The responses of a job: numbered without gaps, kept until they are acknowledged, read by one at a time. */
export class JobResponses {
  readonly #deps: JobResponsesDeps;
  #kept: { readonly response: RunJobResponse; readonly sizeBytes: number }[] = [];
  /** Sequence of the first that is kept. */
  #first = 1;
  #sizeBytes = 0;
  #hasEnded = false;
  #reader: { wake(): void } | undefined;

  constructor(deps: JobResponsesDeps) {
    this.#deps = deps;
  }

  /** True while nobody reads. */
  get isUnread(): boolean {
    return this.#reader === undefined;
  }

  /** So much is kept that nothing may begin that has more to say. */
  get isFull(): boolean {
    return this.#fill() >= 1;
  }

  /** So much is kept that items of pipes are left out. */
  get isHalfFull(): boolean {
    return this.#fill() >= 0.5;
  }

  /** Everything was acknowledged, the end included. */
  get isSettled(): boolean {
    return this.#hasEnded && this.#kept.length === 0;
  }

  push(message: JobMessage, bytes = 0): void {
    if (this.#hasEnded) return;
    const sequence = BigInt(this.#first + this.#kept.length);
    const sizeBytes = 128 + bytes;
    this.#kept.push({ response: create(RunJobResponseSchema, { sequence, message }), sizeBytes });
    this.#sizeBytes += sizeBytes;
    if (message.case === 'jobEnded') this.#hasEnded = true;
    this.#reader?.wake();
  }

  acknowledge(sequence: bigint): void {
    const count = Math.min(this.#kept.length, Number(sequence) - this.#first + 1);
    if (count <= 0) return;
    for (const { sizeBytes } of this.#kept.splice(0, count)) this.#sizeBytes -= sizeBytes;
    this.#first += count;
    this.#deps.onRoom();
  }

  /** From after a sequence to the end. Throws `HERD_RESPONSES_GONE`, and the signal's reason on abort. */
  async *read(afterSequence: bigint, signal: AbortSignal): AsyncGenerator<RunJobResponse, void, undefined> {
    signal.throwIfAborted();
    let next = Number(afterSequence) + 1;
    if (next < this.#first || next > this.#first + this.#kept.length) throw this.#gone(afterSequence);
    let wake: () => void = () => undefined;
    const reader = { wake: () => wake() };
    const before = this.#reader;
    this.#reader = reader;
    before?.wake();
    this.#deps.onReader();
    const onAbort = (): void => wake();
    signal.addEventListener('abort', onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        if (this.#reader !== reader) return;
        next = Math.max(next, this.#first);
        const one = this.#kept[next - this.#first];
        if (one === undefined) {
          if (this.#hasEnded) return;
          await new Promise<void>((resolve) => (wake = resolve));
          continue;
        }
        yield one.response;
        if (!this.#deps.isKept) this.acknowledge(one.response.sequence);
        next += 1;
        if (one.response.message.case === 'jobEnded') return;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      if (this.#reader === reader) {
        this.#reader = undefined;
        this.#deps.onNoReader();
      }
    }
  }

  #fill(): number {
    const { responsesKeptMax, responsesKeptBytesMax } = this.#deps.limits;
    return Math.max(this.#kept.length / responsesKeptMax, this.#sizeBytes / responsesKeptBytesMax);
  }

  #gone(after: bigint): Error {
    const last = this.#first + this.#kept.length - 1;
    const message = `Responses after ${after} cannot be sent again; those after ${this.#first - 1} to ${last} can`;
    return herdError('HERD_RESPONSES_GONE', 'conflict', message);
  }
}
