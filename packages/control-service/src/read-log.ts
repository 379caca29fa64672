import { create } from '@bufbuild/protobuf';
import { ReadLogResponseSchema, type ReadLogRequest, type ReadLogResponse } from '@drover/control-api';
import type { JobStore, LeaseRecord, LogStore, StoreContext } from '@drover/lease-store';
import type { Followers } from './followers.ts';
import { inputInvalid } from './input-errors.ts';

/** What reading a log works with. */
export interface ReadLogDeps {
  readonly jobs: Pick<JobStore, 'lease'>;
  readonly logs: Pick<LogStore, 'read'>;
  readonly followers: Followers;
}

const chunkBytes = 128 * 1024;
const logNameLengthMax = 256;

/**
 * The bytes of a log. When following: until the log is complete, or its attempt has ended and everything was read; a lease
 * that has not been assigned yet is waited for. Throws `LEASE_NOT_FOUND`, `INVALID_LEASE_ID`, `INVALID_LOG_NAME`,
 * `INVALID_LOG_OFFSET`, `FOLLOWERS_FULL`.
 */
export async function* readLog(
  request: ReadLogRequest,
  deps: ReadLogDeps,
  context: StoreContext & { readonly signal: AbortSignal },
): AsyncGenerator<ReadLogResponse> {
  checkRequest(request);
  const { leaseId, log } = request;
  let lease = await deps.jobs.lease(leaseId, context);
  const keys = [`lease:${leaseId}` as const, ...(lease.jobId === undefined ? [] : [`job:${lease.jobId}` as const])];
  using follower = request.follow ? deps.followers.follow(keys, context.signal) : undefined;
  let attempt = request.attempt;
  let offset = Number(request.offset);
  while (!context.signal.aborted) {
    if (attempt === 0) attempt = lease.attempts.at(-1)?.attempt ?? 0;
    // Looked at before the bytes are read: what an attempt wrote before its end is read after it.
    const over = isOver(lease, attempt);
    if (attempt > 0) {
      const range = { offset, limitBytes: chunkBytes };
      const { data, sizeBytes, complete } = await deps.logs.read({ leaseId, attempt, log }, range, context);
      if (data.byteLength > 0) {
        yield create(ReadLogResponseSchema, { offset: BigInt(offset), data });
        offset += data.byteLength;
        if (offset < sizeBytes) continue;
      }
      if (complete && offset >= sizeBytes) return;
      if (data.byteLength > 0 && follower === undefined) continue;
    }
    if (follower === undefined || over) return;
    await follower.changed();
    lease = await deps.jobs.lease(leaseId, context);
  }
}

/** No byte can follow: the attempt has ended, or the lease has and never came to that attempt. */
function isOver(lease: LeaseRecord, attempt: number): boolean {
  if (lease.state === 'ended') return true;
  return lease.attempts.some((record) => record.attempt === attempt && record.end !== undefined);
}

function checkRequest(request: ReadLogRequest): void {
  if (!/^[0-9a-f-]{36}$/.test(request.leaseId)) {
    const shown = JSON.stringify(request.leaseId.slice(0, 64));
    throw inputInvalid('INVALID_LEASE_ID', 'lease_id', shown, 'the id of a lease');
  }
  if (request.log === '' || request.log.length > logNameLengthMax) {
    const problem = `${request.log.length} characters`;
    throw inputInvalid('INVALID_LOG_NAME', 'log', problem, `1 to ${logNameLengthMax} characters`);
  }
  if (request.offset > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw inputInvalid('INVALID_LOG_OFFSET', 'offset', String(request.offset), 'at most 2^53 - 1');
  }
}
