import type { DescMessage } from '@bufbuild/protobuf';
import type { AbsenceGrant } from './task-source.ts';

/** What an agent that has lost its server does with an attempt of this type. */
export type CutOffRule = 'stop' | 'go-on';

/**
 * When an attempt that did not complete is followed by another. Without `again` no outcome is retried. A cancelled
 * lease is never retried, and a completed one only if its lease type judges the output a failure and `onFailedWork`.
 */
export interface RetryPolicy {
  /** How many attempts a lease has at the most, the first included; 1 to 20. */
  readonly attemptsMax: number;
  /** Outcomes after which another attempt is made. */
  readonly after: readonly ('failed' | 'timed-out' | 'lost')[];
  /** Also try again after work that ran to its end and did not succeed. */
  readonly onFailedWork: boolean;
  /** Wait before the second attempt; doubled for each further one, at most an hour. */
  readonly backoffMs: number;
}

/**
 * One kind of work that Drover leases: its message and its rules. `name` is the short name that people use (`job`);
 * the payload's type name is what the wire carries. Make one with {@link defineLeaseType}.
 */
export interface LeaseType<Payload extends DescMessage = DescMessage, Output extends DescMessage = DescMessage> {
  readonly name: string;
  readonly payload: Payload;
  readonly output: Output;
  /** Used where a submitter states none. */
  readonly retry: RetryPolicy;
  /** How long an attempt may run where its submitter states nothing. */
  readonly runLimitMs: number;
  /** How long a handler has to stop where its submitter states nothing. */
  readonly cancelGraceMs: number;
  readonly cutOff: CutOffRule;
  /**
   * What an agent may stay away with an attempt of this type, for types that end the agent's own process (upgrade, restart,
   * shutdown). Used where the maker of a lease states none; absent for all others.
   */
  readonly absence?: AbsenceGrant;
}

/** {@link LeaseType} with the rules that have defaults made optional. */
export interface LeaseTypeOptions<Payload extends DescMessage, Output extends DescMessage> {
  /** Lower-case letters, digits and dashes, at most 64 characters. */
  readonly name: string;
  readonly payload: Payload;
  readonly output: Output;
  /** Default: 2 attempts, after `lost` and `failed`, 1 s apart. */
  readonly retry?: Partial<RetryPolicy>;
  /** Default 24 h. */
  readonly runLimitMs?: number;
  /** Default 10 s. */
  readonly cancelGraceMs?: number;
  /** Default `go-on`. */
  readonly cutOff?: CutOffRule;
  /** Default: none. */
  readonly absence?: AbsenceGrant;
}

/** Declares a lease type. Throws a RangeError for a name that is not one. */
export function defineLeaseType<Payload extends DescMessage, Output extends DescMessage>(
  options: LeaseTypeOptions<Payload, Output>,
): LeaseType<Payload, Output> {
  if (!/^[a-z][a-z0-9-]{0,63}$/.test(options.name)) {
    throw new RangeError(
      `lease type name ${JSON.stringify(options.name)}: allowed are lower-case letters, digits and dashes, at most 64`,
    );
  }
  return {
    name: options.name,
    payload: options.payload,
    output: options.output,
    retry: { attemptsMax: 2, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 1_000, ...options.retry },
    runLimitMs: options.runLimitMs ?? 24 * 3_600_000,
    cancelGraceMs: options.cancelGraceMs ?? 10_000,
    cutOff: options.cutOff ?? 'go-on',
    ...(options.absence ? { absence: options.absence } : {}),
  };
}
