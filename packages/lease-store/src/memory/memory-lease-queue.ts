import { payloadTypeOf } from '@drover/lease-kit';
import { checkClaim, checkEnqueueEntries, checkText } from '../check-store-input.ts';
import type { LeaseQueue, WaitingClass, WaitingWork } from '../lease-queue.ts';
import { storeLimits } from '../store-limits.ts';
import { inOrder, type MemoryData, type MemoryLease } from './memory-data.ts';

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
        const { classId, requirements, typeUrl } = data.classOf(lease.draft);
        const priorityMax = Math.max(lease.draft.priority, classes.get(classId)?.priorityMax ?? -Infinity);
        classes.set(classId, { classId, requirements, payloadType: payloadTypeOf({ typeUrl }), priorityMax });
      }
      return [...classes.values()]
        .sort((a, b) => b.priorityMax - a.priorityMax || a.classId - b.classId)
        .slice(0, storeLimits.waitingClassesMax);
    },
    claim: async (request, context) => {
      data.enter(context);
      checkClaim(request);
      const classIds = new Set(request.classIds);
      const places = request.places.filter((place) => data.isCurrent(place));
      const waiting = [...data.live]
        .filter((lease) => isDue(lease) && classIds.has(lease.classId) && lease.draft.source === request.source)
        .sort(inOrder);
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
  };
}
