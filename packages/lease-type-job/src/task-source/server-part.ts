import { defineServerPart } from '@drover/lease-kit';
import type { QueueTaskSourceDeps } from '@drover/task-sources';
import { z } from 'zod';
import { durationMs, durationText } from '@drover/job-text';
import { jobLeaseType } from '../job-lease-type.ts';
import { jobPlanner } from '../job-planner.ts';
import { createJobTaskSource } from './job-task-source.ts';

/** `[lease_type."@drover/lease-type-job"]` of a server's configuration. */
const config = z.strictObject({
  aged_after: durationText
    .default('10min')
    .transform(durationMs)
    .meta({ description: 'A batch that has waited so long goes before all younger ones, whatever their priority.' }),
  hold_back_after: durationText
    .default('2min')
    .transform(durationMs)
    .meta({ description: 'After so long without room anywhere, an agent is kept free for a large batch.' }),
});

/** What jobs bring to a server: their planner, and the queue of batches that it fills. */
export const serverPart = defineServerPart({
  type: jobLeaseType,
  needs: ['queue', 'signals', 'weightOf', 'logger'],
  config,
  create: ({ aged_after, hold_back_after }, deps: QueueTaskSourceDeps) => ({
    source: createJobTaskSource(deps, { agedAfterMs: aged_after, holdBackAfterMs: hold_back_after }),
    planner: jobPlanner,
  }),
});
