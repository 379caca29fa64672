import { anyPack, type Any } from '@bufbuild/protobuf/wkt';
import { isDroverError, messageOf, type HandlerResult, type LeaseHandler, type StopReason } from '@drover/lease-kit';

/** How an attempt ended, as the agent tells it. */
export interface AttemptReport {
  readonly outcome: 'completed' | 'failed' | 'timed-out' | 'cancelled' | 'lost';
  /** What the handler returned; always there when `outcome` is `completed`. */
  readonly output?: Any;
  /** Why it did not complete. */
  readonly reason?: { readonly code: string; readonly message: string };
}

/** What an attempt becomes that was stopped for this reason and has nothing better to say. */
const outcomeOfStop: Readonly<Record<StopReason['code'], 'cancelled' | 'timed-out' | 'lost'>> = {
  cancelled: 'cancelled',
  'timed-out': 'timed-out',
  // Nobody gave the work up: the machine did. As lost it is tried again where the lease type allows.
  orphaned: 'lost',
  'cut-off': 'lost',
  busy: 'lost',
  'shutting-down': 'lost',
  'going-down': 'lost',
};

/** The code of the reason for such an end. */
const codeOfStop: Readonly<Record<StopReason['code'], string>> = {
  cancelled: 'CANCELLED',
  'timed-out': 'RUN_LIMIT_PASSED',
  orphaned: 'ORPHANED',
  'cut-off': 'SERVER_OUT_OF_REACH',
  busy: 'AGENT_BUSY',
  'shutting-down': 'AGENT_SHUTTING_DOWN',
  'going-down': 'AGENT_GOING_DOWN',
};

/** The end of an attempt that was stopped, when its handler does not say more than that. */
export function reportFromStop(reason: StopReason): AttemptReport {
  const code = reason.reasonCode ?? codeOfStop[reason.code];
  return { outcome: outcomeOfStop[reason.code], reason: { code, message: reason.message } };
}

/**
 * What a handler's result means. `cancelled` after a stop that nobody wished for (busy, shutting down) becomes `lost`, and
 * after the run limit `timed-out`, so that the lease is tried again by its policy. An output that is not a message of the
 * lease type's output is a defect of the handler: `failed`, `OUTPUT_INVALID`.
 */
export function reportFromResult(
  handler: LeaseHandler,
  result: HandlerResult,
  stop: StopReason | undefined,
): AttemptReport {
  try {
    const output = result.output === undefined ? undefined : anyPack(handler.type.output, result.output);
    if (result.kind === 'completed') {
      if (output) return { outcome: 'completed', output };
      const message = `the handler of ${handler.type.name} completed without an output`;
      return { outcome: 'failed', reason: { code: 'OUTPUT_INVALID', message } };
    }
    const outcome = result.kind === 'cancelled' && stop ? outcomeOfStop[stop.code] : result.kind;
    // What limit passed is told by the agent alone: handlers know that they were cancelled.
    const code = outcome === 'timed-out' && stop?.reasonCode !== undefined ? stop.reasonCode : result.code;
    const reason = { code, message: result.message };
    return output === undefined ? { outcome, reason } : { outcome, reason, output };
  } catch (error) {
    return { outcome: 'failed', reason: { code: 'OUTPUT_INVALID', message: messageOf(error) } };
  }
}

/** What it means that a handler threw: `failed` with the error's code, or the end that its stop stands for. */
export function reportFromThrow(error: unknown, stop: StopReason | undefined): AttemptReport {
  if (stop) return reportFromStop(stop);
  const code = isDroverError(error) ? error.code : 'HANDLER_FAILED';
  return { outcome: 'failed', reason: { code, message: messageOf(error) } };
}
