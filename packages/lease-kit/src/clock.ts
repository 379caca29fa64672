/** A timer that {@link Clock.schedule} started. */
export interface ScheduledCall {
  /** Prevents the call if it has not happened; harmless otherwise. */
  cancel(): void;
}

/**
 * Time, as an injected collaborator. Durations are measured with {@link monotonicMs}; wall time is for people to read.
 * Tests use `ManualClock` from `@drover/lease-kit/testing`.
 */
export interface Clock {
  /** Milliseconds since an arbitrary origin; never goes back, unaffected by changes of the wall clock. */
  monotonicMs(): number;
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Calls `callback` once, `delayMs` (≥ 0) from now. It keeps the process alive until it fires or is cancelled. */
  schedule(delayMs: number, callback: () => void): ScheduledCall;
}

/** The clock of this process. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
