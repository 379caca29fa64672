import { poolOutOfScope, roleAllows, roleMissing, seesPool, type Role } from '@drover/access';
import { principalName, type LeaseDraft } from '@drover/lease-kit';
import {
  jobNotFound,
  leaseNotFound,
  type JobRecord,
  type JobStore,
  type LeaseRecord,
  type StoreContext,
} from '@drover/lease-store';

/** A call with what its caller may do. */
export interface Call extends StoreContext {
  readonly signal: AbortSignal;
  /** Absent: the service is not behind a gate, and everything is allowed. */
  readonly role?: Role;
  /** The pools that the caller is limited to; absent: none. */
  readonly pools?: readonly string[];
}

/** True if the caller may see a job: his own, and, of a caller limited to pools, those whose every lease asks for one of them. */
export function seesJob(call: Call, { submitter, leases }: Pick<JobRecord, 'submitter' | 'leases'>): boolean {
  return submitter === principalName(call.principal) || leases.every((lease) => seesLease(call, lease));
}

/** True if the caller may see a lease by itself. */
export function seesLease(call: Call, { requirements }: Pick<LeaseRecord, 'requirements'>): boolean {
  return seesPool(call, requirements.pool);
}

/** Jobs and leases as a caller sees them: what he may not see is not there. */
export function visibleJobs(jobs: JobStore, call: Call): Pick<JobStore, 'job' | 'lease'> {
  if (call.pools === undefined) return jobs;
  const job = async (idOrPrefix: string, context: StoreContext): Promise<JobRecord> => {
    const found = await jobs.job(idOrPrefix, context);
    if (seesJob(call, found)) return found;
    throw jobNotFound(idOrPrefix);
  };
  return {
    job,
    lease: async (leaseId, context) => {
      const found = await jobs.lease(leaseId, context);
      if (seesLease(call, found)) return found;
      if (found.jobId === undefined || !seesJob(call, await jobs.job(found.jobId, context))) {
        throw leaseNotFound(leaseId);
      }
      return found;
    },
  };
}

/** Throws `POOL_OUT_OF_SCOPE` for work that a caller who is limited to pools may not submit. */
export function checkSubmits({ pools }: Pick<Call, 'pools'>, drafts: readonly LeaseDraft[]): void {
  if (pools === undefined) return;
  for (const { name, requirements } of drafts) {
    if (seesPool({ pools }, requirements.pool)) continue;
    const asks = requirements.pool === undefined ? 'any machine' : `the pool ${requirements.pool}`;
    throw poolOutOfScope(`${JSON.stringify(name)} asks for ${asks}`, pools);
  }
}

/** Throws `ROLE_MISSING` unless the job is the caller's own or he is an operator. */
export function checkCancels(call: Call, job: JobRecord): void {
  const { role, principal } = call;
  if (role === undefined || roleAllows(role, 'operator') || job.submitter === principalName(principal)) return;
  throw roleMissing(`Cancelling a job of ${job.submitter}`, 'operator', role);
}
