import { checkLogAppend, checkLogRef, checkWhole } from '../check-store-input.ts';
import type { LogStore } from '../log-store.ts';
import { logFull, sessionFenced } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryData } from './memory-data.ts';

interface MemoryLog {
  parts: Uint8Array[];
  sizeBytes: number;
  complete: boolean;
}

/** The logs of a memory store. */
export function memoryLogStore(data: MemoryData): LogStore {
  /** By lease, then by attempt, then by name. */
  const logs = new Map<string, Map<number, Map<string, MemoryLog>>>();
  data.onForgotten.add((leaseId) => logs.delete(leaseId));
  return {
    append: async (entry, context) => {
      data.enter(context);
      checkLogAppend(entry);
      const { leaseId, attempt, log: name, offset } = entry;
      if (offset + entry.data.length > storeLimits.logBytesMax) {
        throw logFull(name, `a log has at most ${storeLimits.logBytesMax} bytes`);
      }
      if (!data.boundLease(entry)) throw sessionFenced(entry, `Attempt ${attempt} of lease ${leaseId}`);
      const ofLease = logs.get(leaseId) ?? new Map<number, Map<string, MemoryLog>>();
      const ofAttempt = ofLease.get(attempt) ?? new Map<string, MemoryLog>();
      const log = ofAttempt.get(name) ?? { parts: [], sizeBytes: 0, complete: false };
      if (!ofAttempt.has(name) && ofAttempt.size >= storeLimits.logsPerAttemptMax) {
        throw logFull(name, `an attempt has at most ${storeLimits.logsPerAttemptMax} logs`);
      }
      logs.set(leaseId, ofLease.set(attempt, ofAttempt.set(name, log)));
      if (offset > log.sizeBytes) return { committedBytes: log.sizeBytes };
      const fresh = entry.data.slice(log.sizeBytes - offset);
      if (fresh.length > 0) log.parts.push(fresh);
      log.sizeBytes += fresh.length;
      if (entry.complete && offset + entry.data.length >= log.sizeBytes) log.complete = true;
      return { committedBytes: log.sizeBytes };
    },
    read: async (ref, range, context) => {
      data.enter(context);
      checkLogRef(ref);
      checkWhole('offset', range.offset, 0, Number.MAX_SAFE_INTEGER);
      checkWhole('limitBytes', range.limitBytes, 0, storeLimits.logReadBytesMax);
      const log = logs.get(ref.leaseId)?.get(ref.attempt)?.get(ref.log);
      if (!log) return { data: new Uint8Array(), sizeBytes: 0, complete: false };
      const whole = Buffer.concat(log.parts);
      const part = new Uint8Array(whole.subarray(range.offset, range.offset + range.limitBytes));
      return { data: part, sizeBytes: log.sizeBytes, complete: log.complete };
    },
    list: async ({ leaseId, attempt }, context) => {
      data.enter(context);
      const ofAttempt = logs.get(leaseId)?.get(attempt) ?? new Map<string, MemoryLog>();
      return [...ofAttempt]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([log, { sizeBytes, complete }]) => ({ log, sizeBytes, complete }));
    },
  };
}
