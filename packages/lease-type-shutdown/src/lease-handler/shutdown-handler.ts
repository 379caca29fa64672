import { create } from '@bufbuild/protobuf';
import type { LeaseHandler } from '@drover/lease-kit';
import { createMachinePower, type MachinePowerOptions } from '@drover/machine-power';
import { ShutdownResultSchema, type ShutdownSchema } from '../gen/drover/shutdown/v1/shutdown_pb.ts';
import { shutdownLeaseType } from '../shutdown-lease-type.ts';

/** How this machine is switched off. */
export type ShutdownHandlerOptions = Omit<MachinePowerOptions, 'change'>;

/**
 * Switches the machine off. The server completes the attempt when the agent stays away; a machine that comes back with the
 * same boot id has failed. One that comes back with another was off and has been switched on: that completes it too.
 */
export function createShutdownHandler(
  options: ShutdownHandlerOptions = {},
): LeaseHandler<typeof ShutdownSchema, typeof ShutdownResultSchema> {
  const power = createMachinePower({ ...options, change: 'shutdown' });
  return {
    type: shutdownLeaseType,
    refusal: () => power.refusal(),
    run: (_shutdown, context) => power.goDown(context),
    resume: async (_shutdown, context) => {
      const outcome = await power.takeUp(context);
      if (outcome.kind !== 'started-anew') return outcome;
      const { bootIdBefore, bootIdAfter } = outcome;
      return { kind: 'completed', output: create(ShutdownResultSchema, { bootIdBefore, bootIdAfter }) };
    },
  };
}
