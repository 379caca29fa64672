import { defineLeaseType } from '@drover/lease-kit';
import { ShutdownResultSchema, ShutdownSchema } from './gen/drover/shutdown/v1/shutdown_pb.ts';

/** Shutdowns of machines. An agent that has said that it goes down and stays away has done it. */
export const shutdownLeaseType = defineLeaseType({
  name: 'shutdown',
  payload: ShutdownSchema,
  output: ShutdownResultSchema,
  // What is wanted of the agent goes on or ends, not its lease.
  retry: { attemptsMax: 1, after: [] },
  runLimitMs: 24 * 3_600_000,
  cutOff: 'go-on',
  absence: { msMax: 2 * 60_000, then: 'completed' },
});
