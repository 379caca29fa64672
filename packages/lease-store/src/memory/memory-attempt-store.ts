import type { AttemptStore, AttemptWrite, AttemptWriteResult } from '../attempt-store.ts';
import { checkAttemptKey, checkAttemptWrites, checkSession, storedMessage } from '../check-store-input.ts';
import { sessionFenced } from '../store-errors.ts';
import { boundRecord } from './memory-records.ts';
import type { MemoryData } from './memory-data.ts';

/** The attempts of a memory store. */
export function memoryAttemptStore(data: MemoryData): AttemptStore {
  const recordOne = (write: AttemptWrite): AttemptWriteResult => {
    const lease = data.boundLease(write);
    if (!lease) return settled(data, write);
    if (write.kind === 'acceptance') {
      if (lease.state === 'offered') lease.state = 'accepted';
      if (write.goingDown) lease.goingDown = true;
      return { result: 'persisted', ...(lease.jobId === undefined ? {} : { jobId: lease.jobId }) };
    }
    const reason = write.reason && {
      code: storedMessage(write.reason.code),
      message: storedMessage(write.reason.message),
    };
    return data.endAttempt(lease, { ...write, reason });
  };
  return {
    record: async (writes, context) => {
      data.enter(context);
      checkAttemptWrites(writes);
      return writes.map(recordOne);
    },
    boundTo: async (session, context) => {
      data.enter(context);
      checkSession('session', session);
      return data
        .boundTo(session.agentId)
        .filter((lease) => lease.bound?.epoch === session.epoch)
        .map((lease) => boundRecord(data, lease));
    },
    secretsOf: async (attempt, context) => {
      data.enter(context);
      checkAttemptKey(attempt);
      const lease = data.boundLease(attempt);
      if (!lease) throw sessionFenced(attempt, `attempt ${attempt.attempt} of lease ${attempt.leaseId}`);
      return lease.secrets;
    },
  };
}

/** The answer to a write that meets no bound attempt: a repetition was persisted before, anything else is fenced. */
function settled(data: MemoryData, write: AttemptWrite): AttemptWriteResult {
  const lease = data.leases.get(write.leaseId);
  const ended = lease?.attempts.find(
    ({ attempt, agentId, epoch }) => attempt === write.attempt && agentId === write.agentId && epoch === write.epoch,
  );
  if (!lease || !ended) return { result: 'fenced' };
  const job = lease.jobId === undefined ? {} : { jobId: lease.jobId };
  if (write.kind === 'acceptance') {
    const wasTaken = ended.outcome !== 'lost' && ended.outcome !== 'refused';
    return wasTaken ? { result: 'persisted', ...job } : { result: 'fenced' };
  }
  return ended.outcome === write.outcome ? { result: 'persisted', final: ended.final, ...job } : { result: 'fenced' };
}
