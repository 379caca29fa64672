import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import type { Clock } from './clock.ts';
import type { LeaseType } from './lease-type.ts';
import type { Logger } from './logger.ts';

/** The token under which a composition root registers its handlers, each a singleton. */
export const LeaseHandler: unique symbol = Symbol.for('@drover/lease-kit/LeaseHandler');

/** Why a handler is asked to stop: the `reason` of its abort signal. */
export interface StopReason {
  /**
   * - `cancelled`: somebody no longer wants the work.
   * - `orphaned`: the server does not know the attempt; its output goes nowhere.
   * - `timed-out`: the run limit passed.
   * - `cut-off`: the server is out of reach and the lease type says stop.
   * - `busy`: the machine is needed for something else.
   * - `shutting-down`: the agent process ends and its operator does not want to wait.
   * - `going-down`: the agent process ends and the attempt had said {@link LeaseContext.goingDown}: return at once. What is
   *   returned counts for nothing; the next process of the agent resumes the attempt.
   */
  readonly code: 'cancelled' | 'orphaned' | 'timed-out' | 'cut-off' | 'busy' | 'shutting-down' | 'going-down';
  readonly message: string;
  /** Stable code of the end that follows, where `code` alone does not say which limit passed: NO_PROGRESS, LEASE_TIMED_OUT. */
  readonly reasonCode?: string;
}

/** A log of an attempt, kept on the agent's disk and carried to the server while it is written. */
export interface AttemptLog {
  /** Absolute path of the spool file. A child process may write it directly, appending. */
  readonly path: string;
  /** Adds text or bytes. */
  write(data: string | Uint8Array): Promise<void>;
  /** All its bytes so far as the server gets them: with secrets of the attempt blotted out. */
  content(): AsyncIterable<Uint8Array>;
  /** Says that no bytes will follow; resolves when the server keeps all of them, or the attempt's link to it ended. */
  complete(): Promise<void>;
}

/** What a handler may use while it works on one attempt. */
export interface LeaseContext {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  /** A folder of this attempt alone, made before the handler starts and removed after the end is settled. */
  readonly attemptDir: string;
  /** Aborted with a {@link StopReason}; the handler then has `cancelGraceMs` to return. */
  readonly signal: AbortSignal;
  readonly cancelGraceMs: number;
  /** Counted resources that the attempt holds. */
  readonly resources: Readonly<Record<string, number>>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Differs after every start of the machine: `boot_id` of the agent's description. */
  readonly bootId: string;
  /** Reports how far the work is: 0–100 and a sentence. Cheap; only the newest is sent. */
  progress(percent: number, message?: string): void;
  /** Opens, or opens again after a restart, a log by name (at most 256 characters, at most 256 logs). */
  log(name: string): AttemptLog;
  /**
   * The secrets of the lease by name; empty if it has none. Asked of the server, which gives them to the attempt's session
   * alone, so it waits while no server can be reached. From then on they are blotted out of the attempt's logs, progress and
   * reasons; a value of less than 4 bytes is not. They are never written to the agent's disk. Rejects with ATTEMPT_ENDED when
   * the attempt ends before, with the signal's reason on abort, and with what the server refuses it for.
   */
  secrets(signal?: AbortSignal): Promise<ReadonlyMap<string, string>>;
  /**
   * Says that the machine, or the agent's process, ends now because of this attempt. Resolves when a server has persisted
   * that; may take as long as the servers are out of reach. From then on an agent process that is told to stop waits for
   * this attempt no more: it leaves it journalled as accepted, and the next process calls `resume`. Saying it twice is
   * harmless. Rejects with GOING_DOWN_NEEDS_RESUME for a handler without `resume`, ATTEMPT_ENDED when the attempt ends
   * before, and with the signal's reason on abort (what has been said stays said).
   */
  goingDown(signal?: AbortSignal): Promise<void>;
  /**
   * Ends the agent's process on behalf of this attempt, as an upgrade does to hand over to its successor: `LeaseAgent.done`
   * resolves with `handing-over`. Other attempts are told to stop first. Throws HAND_OVER_BEFORE_GOING_DOWN unless
   * {@link goingDown} has resolved.
   */
  handOver(): void;
  /**
   * Resolves when this process of the agent has opened a session, at once if it has. In `resume` it proves that the agent of
   * now reaches a server. Rejects with ATTEMPT_ENDED when the attempt ends before, and with the signal's reason on abort.
   */
  connected(signal?: AbortSignal): Promise<void>;
}

/** How a handler ended. Throwing counts as `failed` with the error's code and message. */
export type HandlerResult<Output extends DescMessage = DescMessage> =
  | { readonly kind: 'completed'; readonly output: MessageShape<Output> }
  | {
      readonly kind: 'failed' | 'cancelled' | 'timed-out' | 'lost';
      readonly code: string;
      readonly message: string;
      /** What could be saved. */
      readonly output?: MessageShape<Output>;
    };

/**
 * Does the work of one lease type on an agent. Registered under the token of the same name. One instance serves all
 * attempts, at the same time.
 */
export interface LeaseHandler<Payload extends DescMessage = DescMessage, Output extends DescMessage = DescMessage> {
  readonly type: LeaseType<Payload, Output>;
  /** Why this machine cannot do this work, or undefined. Called before the attempt is accepted; must be quick. */
  refusal?(payload: MessageShape<Payload>): { readonly code: string; readonly message: string } | undefined;
  /** Does the work. Called at most once for an attempt, ever. */
  run(payload: MessageShape<Payload>, context: LeaseContext): Promise<HandlerResult<Output>>;
  /**
   * Takes up an attempt that an earlier process of this agent had accepted and not ended. Called at most once by each
   * process, never beside `run`. A handler without it ends as `lost`; one that starts processes must end what the crash
   * left before it returns.
   */
  resume?(payload: MessageShape<Payload>, context: LeaseContext): Promise<HandlerResult<Output>>;
}
