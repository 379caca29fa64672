import type { Clock, ScheduledCall } from '@drover/lease-kit';

/** Deadlines closer together than this are served by one wake-up. */
const grainMs = 100;

interface Entry<Owner> {
  readonly dueMs: number;
  readonly owner: Owner;
}

/**
 * The deadlines of many owners on one timer. An owner that has moved its deadline back says so when it is asked: a session
 * that hears from its agent all the time touches the queue once in a time-out, not once in a message.
 */
export class DeadlineQueue<Owner> {
  readonly #clock: Clock;
  readonly #due: (owner: Owner) => number | undefined;
  readonly #heap: Entry<Owner>[] = [];
  #timer: ScheduledCall | undefined;
  #timerMs = Number.POSITIVE_INFINITY;
  #stopped = false;

  /** `due` is called when an owner's time has come; it answers when the next one is, or undefined for never. */
  constructor(clock: Clock, due: (owner: Owner) => number | undefined) {
    this.#clock = clock;
    this.#due = due;
  }

  /** Asks the owner at `dueMs` (monotonic) or soon after. Each owner is added once. */
  add(owner: Owner, dueMs: number): void {
    if (this.#stopped) return;
    this.#push({ owner, dueMs });
    this.#arm();
  }

  /** Nothing is asked any more. */
  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#heap.length = 0;
  }

  #arm(): void {
    const first = this.#heap[0];
    if (first === undefined || this.#stopped || first.dueMs >= this.#timerMs) return;
    this.#timer?.cancel();
    this.#timerMs = first.dueMs;
    const delayMs = Math.max(0, first.dueMs - this.#clock.monotonicMs()) + grainMs;
    this.#timer = this.#clock.schedule(delayMs, () => this.#fire());
  }

  #fire(): void {
    this.#timer = undefined;
    this.#timerMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.monotonicMs();
    for (let first = this.#heap[0]; first !== undefined && first.dueMs <= nowMs; first = this.#heap[0]) {
      this.#pop();
      const nextMs = this.#due(first.owner);
      if (nextMs !== undefined) this.#push({ owner: first.owner, dueMs: Math.max(nextMs, nowMs + 1) });
    }
    this.#arm();
  }

  #push(entry: Entry<Owner>): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (heap[parent]!.dueMs <= entry.dueMs) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.dueMs < heap[child]!.dueMs) child += 1;
      if (heap[child]!.dueMs >= last.dueMs) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }
}
