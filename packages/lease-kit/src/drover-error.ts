/**
 * What the caller of a failed call should do next. It decides the wire code (`lease-transport`, `rpc-host`) and whether
 * a client tries again.
 *
 * - `fix-input`: the request is wrong; sending it again gives the same answer.
 * - `not-found`: the named thing does not exist (any more).
 * - `conflict`: the thing exists and its state forbids this; read it again first.
 * - `fenced`: the caller acts under an epoch that a newer session has replaced; it must stop.
 * - `denied`: the principal may not do this.
 * - `exhausted`: a bound was reached; try again with less, or later.
 * - `unavailable`: a part of the system is away; the same call may succeed later.
 * - `cancelled`: the caller's signal ended the call.
 * - `internal`: a defect of Drover.
 */
export type ErrorAdvice =
  'fix-input' | 'not-found' | 'conflict' | 'fenced' | 'denied' | 'exhausted' | 'unavailable' | 'cancelled' | 'internal';

/** Facts of an error that a program may read: names and values, small and free of secrets. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean>>;

/** How a {@link DroverError} is made. */
export interface DroverErrorOptions {
  /** Stable, upper snake case, unique for one kind of failure, e.g. `JOB_FILE_INVALID`. Never changes once released. */
  readonly code: string;
  readonly advice: ErrorAdvice;
  /** What was wrong, where, and what is allowed: one sentence for a person. */
  readonly message: string;
  /** Absent means no further facts. */
  readonly details?: ErrorDetails;
  /** How long a caller should wait before it tries again; absent means that the caller chooses. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

const brand = Symbol.for('@drover/lease-kit/DroverError');

/**
 * The error that every Drover package throws for a failure it foresaw. It carries a stable code and says what the
 * caller should do next. Use {@link isDroverError} rather than `instanceof`: two copies of this package may be loaded.
 */
export class DroverError extends Error {
  override readonly name: string = 'DroverError';
  readonly code: string;
  readonly advice: ErrorAdvice;
  readonly details: ErrorDetails;
  readonly retryAfterMs: number | undefined;
  readonly [brand] = true;

  constructor(options: DroverErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.advice = options.advice;
    this.details = options.details ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** True for a {@link DroverError} of this or any other copy of the package; with `code`, only for that code. */
export function isDroverError(error: unknown, code?: string): error is DroverError {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false;
  return code === undefined || (error as DroverError).code === code;
}

/** True if the same call may succeed later without a change by the caller. */
export function isRetryable(error: unknown): boolean {
  return isDroverError(error) && (error.advice === 'unavailable' || error.advice === 'exhausted');
}

/** The text of anything that was thrown, for a log line or for an outcome's message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
