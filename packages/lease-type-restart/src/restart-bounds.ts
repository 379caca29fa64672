import { durationMs } from '@bufbuild/protobuf/wkt';
import { DroverError } from '@drover/lease-kit';
import type { Restart } from './gen/drover/restart/v1/restart_pb.ts';

/** Bounds of a restart lease. */
export const restartBounds = {
  /** Characters of a reason. */
  reasonLengthMax: 1_024,
  backWithinMsMin: 1_000,
  backWithinMsMax: 24 * 3_600_000,
  /** Where nothing is said. */
  backWithinMsDefault: 15 * 60_000,
} as const;

/** What a payload says, checked and with what it leaves out. */
export interface RestartRequest {
  readonly reason: string;
  /** How long the machine may be away. */
  readonly backWithinMs: number;
}

/** Reads a payload. Throws `RESTART_INVALID` with advice `fix-input`. */
export function restartRequest(payload: Restart): RestartRequest {
  const { reason, backWithin } = payload;
  if (reason.length > restartBounds.reasonLengthMax) {
    throw invalid('reason', `${reason.length} characters`, `at most ${restartBounds.reasonLengthMax}`);
  }
  if (backWithin === undefined) return { reason, backWithinMs: restartBounds.backWithinMsDefault };
  const ms = durationMs(backWithin);
  if (!(ms >= restartBounds.backWithinMsMin && ms <= restartBounds.backWithinMsMax))
    throw invalid('back_within', `${ms} ms`, '1 s to 24 h');
  return { reason, backWithinMs: ms };
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'RESTART_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
