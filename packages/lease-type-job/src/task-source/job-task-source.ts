import type { TaskSource } from '@drover/lease-kit';
import { createQueueTaskSource, type QueueTaskSourceDeps } from '@drover/task-sources';
import { jobLeaseType } from '../job-lease-type.ts';

/** The source of batches: the queue of waiting leases that `jobPlanner` has made. */
export function createJobTaskSource(deps: QueueTaskSourceDeps): TaskSource {
  return createQueueTaskSource({ name: jobLeaseType.name }, deps);
}
