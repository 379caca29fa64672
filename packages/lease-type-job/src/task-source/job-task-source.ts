import type { TaskSource } from '@drover/lease-kit';
import { createQueueTaskSource, type QueueTaskSourceDeps, type QueueTaskSourceOptions } from '@drover/task-sources';
import { jobLeaseType } from '../job-lease-type.ts';

/** How long batches may wait before they are helped; see `QueueTaskSourceOptions`, whose defaults hold for what is absent. */
export type JobTaskSourceOptions = Pick<QueueTaskSourceOptions, 'agedAfterMs' | 'holdBackAfterMs'>;

/** The source of batches: the queue of waiting leases that `jobPlanner` has made. */
export function createJobTaskSource(deps: QueueTaskSourceDeps, options: JobTaskSourceOptions = {}): TaskSource {
  return createQueueTaskSource({ ...options, name: jobLeaseType.name }, deps);
}
