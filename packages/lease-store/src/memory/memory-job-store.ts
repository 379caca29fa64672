import { payloadTypeOf, principalName } from '@drover/lease-kit';
import { checkCount, checkJobDrafts, checkText, checkWhole, isUuid, storedMessage } from '../check-store-input.ts';
import type { JobRecord, JobStore, SubmittedJob } from '../job-store.ts';
import { inputInvalid, jobExists, jobIdAmbiguous, jobNotFound, leaseNotFound } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import { inOrder, type MemoryData, type MemoryJob, type MemoryLease } from './memory-data.ts';
import { leaseRecord } from './memory-records.ts';

/** The jobs of a memory store. */
export function memoryJobStore(data: MemoryData): JobStore {
  const progress = new Map<string, { attempt: number; percent: number; message: string }>();
  data.onForgotten.add((leaseId) => progress.delete(leaseId));
  const show = (lease: MemoryLease, withOutput: boolean) =>
    leaseRecord(lease, progress.get(lease.draft.leaseId), withOutput);
  const showJob = (job: MemoryJob, withOutputs: boolean): JobRecord => ({
    jobId: job.jobId,
    name: job.name,
    payloadType: payloadTypeOf(job.payload),
    submitter: job.submitter,
    priority: job.priority,
    createdAtMs: job.createdAtMs,
    cancelWished: job.cancelReason !== undefined,
    leases: job.leases.map((lease) => show(lease, withOutputs)),
  });
  const leaseOf = (leaseId: string): MemoryLease => {
    const lease = data.leases.get(leaseId);
    if (!lease) throw leaseNotFound(leaseId);
    return lease;
  };
  return {
    submit: async (drafts, context) => {
      data.enter(context);
      checkJobDrafts(drafts);
      const submitter = principalName(context.principal);
      const requests = new Map<string, string>();
      for (const job of data.jobs.values()) {
        if (job.submitter === submitter && job.requestId !== undefined) requests.set(job.requestId, job.jobId);
      }
      const answers = drafts.map(({ jobId, requestId }): SubmittedJob => {
        const earlier = requestId === undefined ? undefined : requests.get(requestId);
        if (earlier !== undefined) return { jobId: earlier, repeated: true };
        if (data.jobs.has(jobId)) throw jobExists(jobId);
        if (requestId !== undefined) requests.set(requestId, jobId);
        return { jobId, repeated: false };
      });
      const fresh = drafts.filter((_, index) => answers[index]?.repeated === false);
      data.checkNew(fresh.flatMap((job) => job.leases));
      const assigned = fresh.flatMap((draft) => {
        const leases = draft.leases.map((entry) => data.add(entry));
        data.jobs.set(draft.jobId, {
          jobId: draft.jobId,
          requestId: draft.requestId,
          submitter,
          name: draft.name,
          payload: draft.payload,
          priority: draft.priority,
          createdAtMs: data.clock.wallMs(),
          seq: data.nextSeq(),
          leases,
          cancelReason: undefined,
        });
        return leases.flatMap((lease) => data.assigned(lease));
      });
      return { jobs: answers, assigned };
    },
    job: async (idOrPrefix, context) => {
      data.enter(context);
      if (idOrPrefix.length < 4) {
        throw inputInvalid('job id', JSON.stringify(idOrPrefix), 'at least 4 characters of the id');
      }
      const found = [...data.jobs.values()].filter(({ jobId }) => jobId.startsWith(idOrPrefix));
      if (found.length > 1) throw jobIdAmbiguous(idOrPrefix);
      if (!found[0]) throw jobNotFound(idOrPrefix);
      return showJob(found[0], true);
    },
    jobs: async ({ before, limit }, context) => {
      data.enter(context);
      checkWhole('limit', limit, 1, storeLimits.pageMax);
      const last = before === undefined ? undefined : data.jobs.get(before);
      if (before !== undefined && !last) throw jobNotFound(before);
      return [...data.jobs.values()]
        .filter((job) => !last || job.seq < last.seq)
        .sort((a, b) => b.seq - a.seq)
        .slice(0, limit)
        .map((job) => showJob(job, false));
    },
    liveLeases: async ({ after, limit, agentId }, context) => {
      data.enter(context);
      checkWhole('limit', limit, 1, storeLimits.pageMax);
      if (agentId !== undefined) checkText('agentId', agentId, storeLimits.idLengthMax);
      const last = after === undefined ? undefined : leaseOf(after);
      return [...data.live]
        .filter((lease) => agentId === undefined || lease.bound?.agentId === agentId)
        .filter((lease) => !last || inOrder(last, lease) < 0)
        .sort(inOrder)
        .slice(0, limit)
        .map((lease) => show(lease, false));
    },
    lease: async (leaseId, context) => {
      data.enter(context);
      return show(leaseOf(leaseId), true);
    },
    wishCancel: async (jobId, reason, context) => {
      data.enter(context);
      const job = data.jobs.get(jobId);
      if (!job) throw jobNotFound(jobId);
      job.cancelReason ??= storedMessage(reason);
      return job.leases.flatMap((lease) => {
        if (lease.state === 'ended') return [];
        lease.cancelReason ??= storedMessage(reason);
        if (!lease.bound) {
          data.retire(lease);
          return [];
        }
        lease.state = 'cancelling';
        const { agentId, epoch } = lease.bound;
        return [{ leaseId: lease.draft.leaseId, attempt: lease.attempt, agentId, epoch }];
      });
    },
    recordProgress: async (entries, context) => {
      data.enter(context);
      checkCount('entries', entries.length, storeLimits.writesPerCallMax);
      for (const { leaseId, attempt, percent, message } of entries) {
        const lease = data.leases.get(leaseId);
        if (!isUuid(leaseId) || !lease?.bound || lease.attempt !== attempt) continue;
        const kept = Math.min(100, Math.max(0, Math.round(percent) || 0));
        progress.set(leaseId, { attempt, percent: kept, message: storedMessage(message) });
      }
    },
  };
}
