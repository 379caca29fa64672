import { defineAgentPart } from '@drover/lease-kit';
import { powerConfigSchema } from '@drover/machine-power';
import { shutdownLeaseType } from '../shutdown-lease-type.ts';
import { createShutdownHandler } from './shutdown-handler.ts';

/** What shutdowns bring to an agent: the handler that takes its machine down. */
export const agentPart = defineAgentPart({
  type: shutdownLeaseType,
  needs: [],
  config: powerConfigSchema,
  create: ({ command, command_limit, down_within }) => ({
    handler: createShutdownHandler({
      ...(command === undefined ? {} : { command }),
      commandLimitMs: command_limit,
      downWithinMs: down_within,
    }),
  }),
});
