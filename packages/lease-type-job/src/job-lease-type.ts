import { defineLeaseType } from '@drover/lease-kit';
import { BatchResultSchema, BatchSchema } from './gen/drover/job/v1/job_pb.ts';

/** Type name of a submitted job, which the planner turns into one lease a batch. */
export const jobPayloadType = 'drover.job.v1.Job';

/** The lease type of a batch of steps. A cut-off agent goes on: the work is often nearly done when the link returns. */
export const jobLeaseType = defineLeaseType({
  name: 'job',
  payload: BatchSchema,
  output: BatchResultSchema,
  cutOff: 'go-on',
});
