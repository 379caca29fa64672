import { create } from '@bufbuild/protobuf';
import type { Clock, ScheduledCall } from '@drover/lease-kit';
import { LeaseProgressSchema, type LeaseProgress } from '@drover/lease-protocol';
import type { AttemptName } from './attempt-folder.ts';

/** Most bytes of a progress message; the bound stands in the proto. */
const messageSizeBytesMax = 1_024;

/** Gathers progress: the newest of each attempt, told at most every so often. */
export class ProgressBoard {
  readonly #entries = new Map<string, LeaseProgress>();
  readonly #clock: Clock;
  readonly #intervalMs: number;
  readonly #due: () => void;
  #timer: ScheduledCall | undefined;
  #toldMs = -Infinity;

  /** Calls `due` when there is something to {@link take}; at most every `intervalMs`, by default 250. */
  constructor(clock: Clock, due: () => void, intervalMs = 250) {
    this.#clock = clock;
    this.#due = due;
    this.#intervalMs = intervalMs;
  }

  /** Notes how far an attempt is. */
  report({ leaseId, attempt }: AttemptName, percent: number, message: string): void {
    const whole = Number.isFinite(percent) ? Math.round(Math.min(100, Math.max(0, percent))) : 0;
    const entry = { leaseId, attempt, percent: whole, message: cutToBytes(message, messageSizeBytesMax) };
    this.#entries.set(`${attempt}:${leaseId}`, create(LeaseProgressSchema, entry));
    const waitMs = Math.max(0, this.#toldMs + this.#intervalMs - this.#clock.monotonicMs());
    this.#timer ??= this.#clock.schedule(waitMs, () => {
      this.#timer = undefined;
      this.#toldMs = this.#clock.monotonicMs();
      if (this.#entries.size > 0) this.#due();
    });
  }

  /** What has not been told, which the caller now tells. */
  take(): LeaseProgress[] {
    if (this.#entries.size === 0) return [];
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    return entries;
  }

  /** Nobody wants to know how far an attempt is that has ended. */
  drop({ leaseId, attempt }: AttemptName): void {
    if (this.#entries.size > 0) this.#entries.delete(`${attempt}:${leaseId}`);
  }

  /** Lets go of the timer. */
  close(): void {
    this.#timer?.cancel();
    this.#entries.clear();
  }
}

/** The longest beginning of `text` that fits into so many bytes of UTF-8, on a character's boundary. */
export function cutToBytes(text: string, sizeBytesMax: number): string {
  if (text.length * 3 <= sizeBytesMax) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= sizeBytesMax) return text;
  let end = sizeBytesMax;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
