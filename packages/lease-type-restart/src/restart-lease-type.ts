import { defineLeaseType } from '@drover/lease-kit';
import { RestartResultSchema, RestartSchema } from './gen/drover/restart/v1/restart_pb.ts';

/** Restarts of machines. An agent that stays away for longer than the lease allows fails it. */
export const restartLeaseType = defineLeaseType({
  name: 'restart',
  payload: RestartSchema,
  output: RestartResultSchema,
  // What is wanted of the agent goes on or ends, not its lease.
  retry: { attemptsMax: 1, after: [] },
  runLimitMs: 24 * 3_600_000,
  cutOff: 'go-on',
  absence: { msMax: 15 * 60_000, then: 'failed' },
});
