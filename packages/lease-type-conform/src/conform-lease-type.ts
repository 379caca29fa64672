import { defineLeaseType } from '@drover/lease-kit';
import { ConformResultSchema, ConformSchema } from './gen/drover/conform/v1/conform_pb.ts';

/** Syncs of agents' workspaces. An agent that loses its server goes on: what it fetched is of use in any case. */
export const conformLeaseType = defineLeaseType({
  name: 'conform',
  payload: ConformSchema,
  output: ConformResultSchema,
  // What is wanted of the agent backs off and goes on, not its lease.
  retry: { attemptsMax: 1, after: [] },
  runLimitMs: 24 * 3_600_000,
  cutOff: 'go-on',
});
