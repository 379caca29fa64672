import { durationMs } from '@bufbuild/protobuf/wkt';
import { DroverError } from '@drover/lease-kit';
import type { Shutdown } from './gen/drover/shutdown/v1/shutdown_pb.ts';

/** Bounds of a shutdown lease. */
export const shutdownBounds = {
  /** Characters of a reason. */
  reasonLengthMax: 1_024,
  goneAfterMsMin: 1_000,
  goneAfterMsMax: 24 * 3_600_000,
  /** Where nothing is said. */
  goneAfterMsDefault: 2 * 60_000,
} as const;

/** What a payload says, checked and with what it leaves out. */
export interface ShutdownRequest {
  readonly reason: string;
  /** How long the machine must be away to count as gone. */
  readonly goneAfterMs: number;
}

/** Reads a payload. Throws `SHUTDOWN_INVALID` with advice `fix-input`. */
export function shutdownRequest(payload: Shutdown): ShutdownRequest {
  const { reason, goneAfter } = payload;
  if (reason.length > shutdownBounds.reasonLengthMax) {
    throw invalid('reason', `${reason.length} characters`, `at most ${shutdownBounds.reasonLengthMax}`);
  }
  if (goneAfter === undefined) return { reason, goneAfterMs: shutdownBounds.goneAfterMsDefault };
  const ms = durationMs(goneAfter);
  if (!(ms >= shutdownBounds.goneAfterMsMin && ms <= shutdownBounds.goneAfterMsMax))
    throw invalid('gone_after', `${ms} ms`, '1 s to 24 h');
  return { reason, goneAfterMs: ms };
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'SHUTDOWN_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
