import { fromBinary } from '@bufbuild/protobuf';
import { anyPack, anyUnpack, durationMs, type Any, type Duration } from '@bufbuild/protobuf/wkt';
import { DroverError, type JobPlanner, type LeaseRequirements, type PlannedLease } from '@drover/lease-kit';
import { jobBounds } from './bounds.ts';
import { checkJob } from './check-job.ts';
import { jobLeaseType, jobPayloadType } from './job-lease-type.ts';
import { BatchResultSchema, BatchSchema, JobSchema, type Batch, type Job } from './gen/drover/job/v1/job_pb.ts';

/** Plans a submitted `drover.job.v1.Job`: one lease a batch. */
export const jobPlanner: JobPlanner = {
  payloadType: jobPayloadType,
  source: jobLeaseType.name,
  outputType: BatchResultSchema.typeName,
  plan(payload: Any): readonly PlannedLease[] {
    const job = decode(payload);
    checkJob(job);
    return job.batches.map(planBatch);
  },
  succeeded: (output: Any) => anyUnpack(output, BatchResultSchema)?.succeeded ?? false,
};

function decode(payload: Any): Job {
  try {
    return fromBinary(JobSchema, payload.value);
  } catch (cause) {
    throw new DroverError({
      code: 'JOB_INVALID',
      advice: 'fix-input',
      message: `the payload is no ${jobPayloadType}: its bytes cannot be read`,
      cause,
    });
  }
}

function planBatch(batch: Batch): PlannedLease {
  const { retry } = batch;
  const defaults = jobLeaseType.retry;
  return {
    name: batch.name,
    secrets: [...new Set(batch.steps.flatMap((step) => Object.values(step.secretEnvironment)))],
    payload: anyPack(BatchSchema, batch),
    requirements: requirementsOf(batch),
    runLimitMs: Math.min(msOf(batch.runLimit, jobLeaseType.runLimitMs), jobBounds.runLimitMsMax),
    cancelGraceMs: msOf(batch.cancelGrace, jobLeaseType.cancelGraceMs),
    ...timeoutsOf(batch),
    retry: {
      attemptsMax: retry?.attemptsMax || defaults.attemptsMax,
      after: defaults.after,
      onFailedWork: retry?.onStepFailure ?? defaults.onFailedWork,
      backoffMs: msOf(retry?.backoff, defaults.backoffMs),
    },
  };
}

function timeoutsOf({ timeouts }: Batch): Pick<PlannedLease, 'timeouts'> {
  if (timeouts === undefined) return {};
  const { start, progress, total } = timeouts;
  return {
    timeouts: {
      ...(start === undefined ? {} : { startMsMax: durationMs(start) }),
      ...(progress === undefined ? {} : { progressMsMax: durationMs(progress) }),
      ...(total === undefined ? {} : { leaseMsMax: durationMs(total) }),
    },
  };
}

function requirementsOf(batch: Batch): LeaseRequirements {
  const asked = batch.requirements;
  const resources: Record<string, number> = { cores: 1 };
  for (const [name, amount] of Object.entries(asked?.resources ?? {})) resources[name] = Number(amount);
  return {
    ...(asked?.pool ? { pool: asked.pool } : {}),
    ...(asked?.condition ? { condition: asked.condition } : {}),
    resources,
    ...(asked?.exclusive ? { exclusive: true } : {}),
  };
}

function msOf(duration: Duration | undefined, absentMs: number): number {
  return duration === undefined ? absentMs : durationMs(duration);
}
