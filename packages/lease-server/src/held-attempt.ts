import type { AssignedAttempt } from '@drover/lease-kit';
import { keyString } from '@drover/reconciler-state-machine';

/** An attempt that a session holds, with what the machine does not care about. */
export interface HeldAttempt {
  readonly key: string;
  readonly source: string;
  readonly attempt: AssignedAttempt;
  /** Bytes of the payload on the wire. */
  readonly workBytes: number;
  /** Its agent proved that it has it, and so has its work already. */
  readonly proven: boolean;
  /** Where it stood when it came from the store. */
  readonly initial: 'offered' | 'accepted' | 'cancelling';
  /**
   * The stream that has carried the work. What leaves on a stream arrives in order or not at all, and ends with it: later
   * copies on the same one leave the work out, though the agent has not acknowledged it yet.
   */
  workSentOn: object | undefined;
  cancelWished: boolean;
  cancelReason: string;
  /** Why it is cancelling, where no person wished it. */
  cancelCode: string | undefined;
  /** The job of its lease, once the store has said so. */
  jobId: string | undefined;
}

/** Bytes of a payload on the wire. */
export function workBytesOf(payload: AssignedAttempt['payload']): number {
  return payload.value.byteLength + payload.typeUrl.length + 16;
}

/** An attempt as the session keeps it. */
export function heldAttempt(
  attempt: AssignedAttempt,
  source: string,
  initial: HeldAttempt['initial'] = 'offered',
  cancelReason = '',
  jobId?: string,
  proven = false,
): HeldAttempt {
  return {
    key: keyString(attempt),
    source,
    attempt,
    workBytes: workBytesOf(attempt.payload),
    proven,
    initial,
    workSentOn: undefined,
    cancelWished: initial === 'cancelling',
    cancelReason,
    cancelCode: undefined,
    jobId,
  };
}
