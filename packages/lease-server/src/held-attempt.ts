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
  cancelWished: boolean;
  cancelReason: string;
  /** The job of its lease, once the store has said so. */
  jobId: string | undefined;
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
    workBytes: attempt.payload.value.byteLength + attempt.payload.typeUrl.length + 16,
    proven,
    initial,
    cancelWished: initial === 'cancelling',
    cancelReason,
    jobId,
  };
}
