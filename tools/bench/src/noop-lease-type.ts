import { create } from '@bufbuild/protobuf';
import { anyPack, EmptySchema } from '@bufbuild/protobuf/wkt';
import { defineLeaseType, type LeaseDraft } from '@drover/lease-kit';

/** The source that the benchmark's leases belong to; the one that the control service gives leases without a planner. */
export const benchSource = 'job';

/** Work that does nothing. Without retry: a lease that fails shows as such instead of running twice. */
export const noopLeaseType = defineLeaseType({
  name: 'bench-noop',
  payload: EmptySchema,
  output: EmptySchema,
  retry: { attemptsMax: 1, after: [] },
});

const payload = anyPack(EmptySchema, create(EmptySchema));

/** A new lease that does nothing. */
export function noopDraft(leaseId: string): LeaseDraft {
  const { retry, runLimitMs, cancelGraceMs } = noopLeaseType;
  return {
    leaseId,
    source: benchSource,
    name: 'noop',
    payload,
    requirements: {},
    priority: 0,
    runLimitMs,
    cancelGraceMs,
    retry,
  };
}
