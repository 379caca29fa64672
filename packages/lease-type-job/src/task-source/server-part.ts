import { defineServerPart } from '@drover/lease-kit';
import type { QueueTaskSourceDeps } from '@drover/task-sources';
import { jobLeaseType } from '../job-lease-type.ts';
import { jobPlanner } from '../job-planner.ts';
import { createJobTaskSource } from './job-task-source.ts';

/** What jobs bring to a server: their planner, and the queue of batches that it fills. */
export const serverPart = defineServerPart({
  type: jobLeaseType,
  needs: ['queue', 'signals', 'logger'],
  create: (_config, deps: QueueTaskSourceDeps) => ({ source: createJobTaskSource(deps), planner: jobPlanner }),
});
