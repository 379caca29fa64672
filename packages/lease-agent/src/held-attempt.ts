import type { StopReason } from '@drover/lease-kit';
import type { AttemptFolder, AttemptLogs, RunningAttempt } from '@drover/lease-handlers';
import type { ServerLease } from '@drover/lease-protocol';
import type { SecretMask } from '@drover/lease-secrets';
import { keyString, type AttemptKey } from '@drover/reconciler-state-machine';
import type { ResourceOwner } from '@drover/resource-ledger';
import type { ProvenAttempt } from './agent-journal.ts';
import type { ReadableWork } from './read-work.ts';

/** One attempt, as the engine holds it beside the machine. */
export interface HeldAttempt {
  readonly key: AttemptKey;
  readonly name: string;
  /** What the server said of the work; undefined for what the journal proves without it. */
  readonly entry: ServerLease | undefined;
  /** What an earlier process journalled. */
  readonly proven: ProvenAttempt | undefined;
  readonly owner: ResourceOwner;
  work: ReadableWork | undefined;
  reserved: boolean;
  folder: AttemptFolder | undefined;
  logs: AttemptLogs | undefined;
  running: RunningAttempt | undefined;
  /** Once they were asked for. */
  secrets: Promise<ReadonlyMap<string, Uint8Array>> | undefined;
  /** Once they are known. */
  mask: SecretMask | undefined;
  /** A stop that came before the handler was started. */
  stop: StopReason | undefined;
  cancelMessage: string;
  cancelCode: string;
  /** Its handler has said that the agent goes down. */
  goingDown: boolean;
  /** Its handler has returned, or was given up. */
  hasEnded: boolean;
  /** The handler has been started and has not returned. */
  busy: boolean;
  forgotten: boolean;
}

/** An attempt of which nothing is known here but what the server says, or what an earlier process journalled. */
export function heldAttempt(
  key: AttemptKey,
  entry: ServerLease | undefined,
  proven: ProvenAttempt | undefined,
): HeldAttempt {
  const name = keyString(key);
  return {
    key: { leaseId: key.leaseId, attempt: key.attempt },
    name,
    entry,
    proven,
    owner: { kind: 'attempt', id: name },
    work: undefined,
    reserved: false,
    folder: undefined,
    logs: undefined,
    running: undefined,
    secrets: undefined,
    mask: undefined,
    stop: undefined,
    cancelMessage: '',
    cancelCode: '',
    goingDown: false,
    hasEnded: false,
    busy: false,
    forgotten: false,
  };
}
