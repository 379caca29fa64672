import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { HandlerResult, LeaseHandler } from '@drover/lease-kit';
import { createMachinePower, type MachinePowerOptions, type PowerOutcome } from '@drover/machine-power';
import { RestartResultSchema, type RestartSchema } from '../gen/drover/restart/v1/restart_pb.ts';
import { restartLeaseType } from '../restart-lease-type.ts';

/** How this machine is restarted. */
export type RestartHandlerOptions = Omit<MachinePowerOptions, 'change'>;

/**
 * Restarts the machine. The process of the agent that starts with the machine completes the attempt, with both boot ids; the
 * same boot id fails it.
 */
export function createRestartHandler(
  options: RestartHandlerOptions = {},
): LeaseHandler<typeof RestartSchema, typeof RestartResultSchema> {
  const power = createMachinePower({ ...options, change: 'restart' });
  return {
    type: restartLeaseType,
    refusal: () => power.refusal(),
    run: (_restart, context) => power.goDown(context),
    resume: async (_restart, context) => resultOf(await power.takeUp(context)),
  };
}

function resultOf(outcome: PowerOutcome): HandlerResult<typeof RestartResultSchema> {
  if (outcome.kind !== 'started-anew') return outcome;
  const { bootIdBefore, bootIdAfter, tookMs } = outcome;
  return {
    kind: 'completed',
    output: create(RestartResultSchema, {
      bootIdBefore,
      bootIdAfter,
      ...(tookMs === undefined ? {} : { took: durationFromMs(tookMs) }),
    }),
  };
}
