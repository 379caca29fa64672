import { JobState, type JobStatus } from '@drover/control-api';
import { exitCodes } from '@drover/app-config';

/** The exit code of `drover job run`: the job's status. */
export function exitCodeOfJob(job: JobStatus): number {
  if (job.state === JobState.SUCCEEDED) return exitCodes.ok;
  return job.state === JobState.CANCELLED ? exitCodes.jobCancelled : exitCodes.jobFailed;
}
