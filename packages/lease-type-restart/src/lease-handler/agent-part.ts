import { defineAgentPart } from '@drover/lease-kit';
import { powerConfigSchema } from '@drover/machine-power';
import { restartLeaseType } from '../restart-lease-type.ts';
import { createRestartHandler } from './restart-handler.ts';

/** What restarts bring to an agent: the handler that takes its machine down. */
export const agentPart = defineAgentPart({
  type: restartLeaseType,
  needs: [],
  config: powerConfigSchema,
  create: ({ command, command_limit, down_within }) => ({
    handler: createRestartHandler({
      ...(command === undefined ? {} : { command }),
      commandLimitMs: command_limit,
      downWithinMs: down_within,
    }),
  }),
});
