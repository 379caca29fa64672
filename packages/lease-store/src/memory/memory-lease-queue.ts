import { payloadTypeOf } from '@drover/lease-kit';
import { checkClaim, checkEnqueueEntries, checkText } from '../check-store-input.ts';
import type { ClaimRequest, ClaimShare, LeaseQueue, WaitingClass, WaitingWork } from '../lease-queue.ts';
import { storeLimits } from '../store-limits.ts';
import { inOrder, type MemoryData, type MemoryLease } from './memory-data.ts';

const overdue = { code: 'LEASE_TIMED_OUT', message: 'The time that this lease had in all is over.' };

/** The queue of a memory store. */
export function memoryLeaseQueue(data: MemoryData): LeaseQueue {
  const isDue = (lease: MemoryLease) => lease.state === 'waiting' && lease.dueAtMs <= data.clock.wallMs();
  return {
    enqueue: async (entries, context) => {
      data.enter(context);
      checkEnqueueEntries(entries);
      data.checkNew(entries);
      return entries.flatMap((entry) => data.assigned(data.add(entry)));
    },
    waitingClasses: async (source, context) => {
      data.enter(context);
      checkText('source', source, storeLimits.idLengthMax);
      const classes = new Map<number, WaitingClass>();
      for (const lease of data.live) {
        if (lease.draft.source !== source || !isDue(lease)) continue;
        const { classId, requirements, typeUrl, submitter } = data.classOf(lease.draft);
        const { priority } = lease.draft;
        const known = classes.get(classId);
        classes.set(classId, {
          classId,
          requirements,
          payloadType: payloadTypeOf({ typeUrl }),
          submitter,
          priorityMax: Math.max(priority, known?.priorityMax ?? priority),
          priorityMin: Math.min(priority, known?.priorityMin ?? priority),
          ageMsMax: Math.max(data.clock.wallMs() - lease.createdAtMs, known?.ageMsMax ?? 0),
        });
      }
      return mostUrgent([...classes.values()]);
    },
    claim: async (request, context) => {
      data.enter(context);
      checkClaim(request);
      const classIds = new Set(request.classIds);
      const places = request.places.filter((place) => data.isCurrent(place));
      const due = [...data.live].filter(
        (lease) => isDue(lease) && classIds.has(lease.classId) && lease.draft.source === request.source,
      );
      const waiting = inOrderOf(request, due, data.clock.wallMs());
      const bound: MemoryLease[] = [];
      for (const lease of waiting) {
        if (places.length === 0) break;
        const index = places.findIndex(({ agentId }) => !lease.excluded.includes(agentId));
        const [place] = index === -1 ? [] : places.splice(index, 1);
        if (!place) continue;
        data.bind(lease, place);
        bound.push(lease);
      }
      return bound.flatMap((lease) => data.assigned(lease));
    },
    waitingWork: async (context) => {
      data.enter(context);
      const classes = new Map<number, WaitingWork>();
      for (const lease of data.live) {
        if (lease.state !== 'waiting') continue;
        const { classId, source, requirements, typeUrl } = data.classOf(lease.draft);
        const { leases = 0, oldestAtMs = Infinity } = classes.get(classId) ?? {};
        classes.set(classId, {
          classId,
          source,
          requirements,
          payloadType: payloadTypeOf({ typeUrl }),
          leases: Math.min(storeLimits.waitingCountMax, leases + 1),
          oldestAtMs: Math.min(oldestAtMs, lease.createdAtMs),
        });
      }
      return [...classes.values()].slice(0, storeLimits.waitingClassesMax);
    },
    nextDueMs: async (source, context) => {
      data.enter(context);
      checkText('source', source, storeLimits.idLengthMax);
      const nowMs = data.clock.wallMs();
      const due = [...data.live]
        .filter((lease) => lease.state === 'waiting' && lease.draft.source === source && lease.dueAtMs > nowMs)
        .map((lease) => lease.dueAtMs - nowMs);
      return due.length === 0 ? undefined : Math.min(...due);
    },
    expire: async (context) => {
      data.enter(context);
      const due = [...data.live].filter(({ expiresAtMs }) => expiresAtMs <= data.clock.wallMs()).slice(0, 1_000);
      const waiting = due.filter(({ bound }) => !bound);
      for (const lease of waiting) {
        lease.endedWaiting = overdue;
        data.retire(lease);
      }
      const wished = due.flatMap((lease) => {
        lease.expiresAtMs = Infinity;
        if (!lease.bound || lease.state === 'ended') return [];
        if (lease.state !== 'cancelling') lease.cancelCode = overdue.code;
        lease.state = 'cancelling';
        lease.cancelReason ??= overdue.message;
        const { agentId, epoch } = lease.bound;
        return [{ leaseId: lease.draft.leaseId, attempt: lease.attempt, agentId, epoch }];
      });
      const ended = waiting.map(({ draft, jobId }) => ({
        leaseId: draft.leaseId,
        source: draft.source,
        ...(jobId === undefined ? {} : { jobId }),
      }));
      return { ended, wished };
    },
  };
}

/** The classes that one answer names: three quarters by priority, the rest by age. */
function mostUrgent(classes: readonly WaitingClass[]): WaitingClass[] {
  const max = storeLimits.waitingClassesMax;
  const byPriority = classes.toSorted((a, b) => b.priorityMax - a.priorityMax || a.classId - b.classId);
  if (classes.length <= max) return byPriority;
  const named = new Set(byPriority.slice(0, (max / 4) * 3));
  for (const one of classes.toSorted((a, b) => b.ageMsMax - a.ageMsMax)) if (named.size < max) named.add(one);
  return byPriority.filter((one) => named.has(one));
}

/** What a claim takes, in its order. */
function inOrderOf({ classIds, shares, agedMs }: ClaimRequest, due: readonly MemoryLease[], nowMs: number) {
  if (agedMs !== undefined) {
    return due.filter(({ createdAtMs }) => nowMs - createdAtMs >= agedMs).sort((a, b) => a.seq - b.seq);
  }
  const ordered = due.toSorted(inOrder);
  if (shares === undefined) return ordered;
  const shareOf = new Map(classIds.map((classId, index) => [classId, shares[index] as ClaimShare]));
  const sums = new Map<string, number>();
  const tags = new Map<MemoryLease, number>();
  for (const lease of ordered) {
    const { submitter, start, step } = shareOf.get(lease.classId) as ClaimShare;
    const key = `${submitter} ${lease.draft.priority}`;
    const sum = (sums.get(key) ?? 0) + step;
    sums.set(key, sum);
    tags.set(lease, start + sum);
  }
  const tagOf = (lease: MemoryLease) => tags.get(lease) as number;
  return ordered.sort((a, b) => b.draft.priority - a.draft.priority || tagOf(a) - tagOf(b) || a.seq - b.seq);
}
