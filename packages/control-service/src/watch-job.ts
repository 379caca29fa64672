import { create, toBinary } from '@bufbuild/protobuf';
import { JobStatusSchema, WatchJobResponseSchema, type WatchJobResponse } from '@drover/control-api';
import { delay, type Clock } from '@drover/lease-kit';
import type { JobStore, StoreContext } from '@drover/lease-store';
import type { Followers } from './followers.ts';
import type { JobReader } from './job-reader.ts';
import { isEndState } from './job-status.ts';

/** What watching a job works with. */
export interface WatchJobDeps {
  readonly jobs: Pick<JobStore, 'job'>;
  readonly reader: JobReader;
  readonly followers: Followers;
  readonly clock: Clock;
  readonly spacingMs: number;
}

/**
 * The state of a job now and after every change, the newest when several come close together, until it has ended. Throws
 * `JOB_NOT_FOUND`, `JOB_ID_AMBIGUOUS`, `FOLLOWERS_FULL`.
 */
export async function* watchJob(
  idOrPrefix: string,
  deps: WatchJobDeps,
  context: StoreContext & { readonly signal: AbortSignal },
): AsyncGenerator<WatchJobResponse> {
  const { jobId } = await deps.jobs.job(idOrPrefix, context);
  using follower = deps.followers.follow([`job:${jobId}`], context.signal);
  let before: Uint8Array | undefined;
  while (!context.signal.aborted) {
    const job = await deps.reader.read(await deps.jobs.job(jobId, context), context);
    const bytes = toBinary(JobStatusSchema, job);
    if (before === undefined || Buffer.compare(before, bytes) !== 0) {
      before = bytes;
      yield create(WatchJobResponseSchema, { job });
      if (isEndState(job.state)) return;
      await delay(deps.clock, deps.spacingMs, context.signal);
    }
    await follower.changed();
  }
}
