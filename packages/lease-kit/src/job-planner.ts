import type { Any } from '@bufbuild/protobuf/wkt';
import type { LeaseDraft } from './task-source.ts';

/** The token under which a composition root registers its planners, each a singleton. */
export const JobPlanner: unique symbol = Symbol.for('@drover/lease-kit/JobPlanner');

/** A lease of a planned job, before ids, the submission's priority and its submitter are added. */
export type PlannedLease = Omit<LeaseDraft, 'leaseId' | 'priority' | 'source' | 'submitter'> & {
  /** Names of the submission's secrets that the lease needs; absent: none. */
  readonly secrets?: readonly string[];
};

/**
 * Turns a submitted message into leases, on the server. Registered under the token of the same name. A payload for
 * which no planner is registered becomes one lease with that payload.
 */
export interface JobPlanner {
  /** Type name of the submitted message, e.g. `drover.job.v1.Job`. */
  readonly payloadType: string;
  /** The source that the leases belong to. */
  readonly source: string;
  /** 1 to 1,000 leases. Throws a DroverError with advice `fix-input` for a message that is not right. */
  plan(payload: Any): readonly PlannedLease[];
  /** Type names of the leases' outputs that {@link succeeded} judges. */
  readonly outputType: string;
  /** True if the output of a completed lease says that the work succeeded. */
  succeeded(output: Any): boolean;
}
