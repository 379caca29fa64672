import type { Any } from '@bufbuild/protobuf/wkt';
import type { LeaseDraft } from '@drover/lease-kit';
import { requirementsKey } from '@drover/lease-matching';
import type { AttemptWrite } from './attempt-store.ts';
import type { AgentDrain } from './drain-store.ts';
import type { JobDraft } from './job-store.ts';
import type { ClaimRequest, EnqueueEntry, SessionRef } from './lease-queue.ts';
import type { LogAppend, LogRef } from './log-store.ts';
import type { NewSession } from './session-store.ts';
import { callTooLarge, inputInvalid, payloadTooLarge } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const runLimitMsMax = 10 * 366 * 86_400_000;

/** True for a UUID in its canonical form, in lower case. */
export function isUuid(text: string): boolean {
  return uuid.test(text);
}

/** Throws `STORE_INPUT_INVALID` for an id that is not a UUID in lower case. */
export function checkUuid(where: string, id: string): void {
  if (!isUuid(id)) throw inputInvalid(where, quoted(id), 'a UUID in its canonical form, in lower case');
}

/** Throws `STORE_INPUT_INVALID` for a text that is empty, too long, or holds a NUL, which Postgres cannot store. */
export function checkText(where: string, text: string, lengthMax: number, isEmptyAllowed = false): void {
  if ((text === '' && !isEmptyAllowed) || text.length > lengthMax || text.includes('\0')) {
    throw inputInvalid(where, quoted(text), `${isEmptyAllowed ? 'at most' : '1 to'} ${lengthMax} characters, none NUL`);
  }
}

/** Throws `STORE_INPUT_INVALID` for a number that is not whole or out of its range. */
export function checkWhole(where: string, value: number, min: number, max: number): void {
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw inputInvalid(where, String(value), `a whole number from ${min} to ${max}`);
  }
}

/** Throws `STORE_CALL_TOO_LARGE` beyond the bound of one call. */
export function checkCount(where: string, given: number, limit: number): void {
  if (given > limit) throw callTooLarge(where, given, limit);
}

/** Throws unless a session is one that a store can have made. */
export function checkSession(where: string, session: SessionRef): void {
  checkText(`${where}.agentId`, session.agentId, storeLimits.idLengthMax);
  checkWhole(`${where}.epoch`, session.epoch, 0, Number.MAX_SAFE_INTEGER);
}

/** Throws `STORE_INPUT_INVALID`, `STORE_CALL_TOO_LARGE`, `PAYLOAD_TOO_LARGE`, or what is wrong with requirements. */
export function checkEnqueueEntries(entries: readonly EnqueueEntry[], where = 'entries'): void {
  checkCount(where, entries.length, storeLimits.leasesPerCallMax);
  const ids = new Set<string>();
  let bytes = 0;
  entries.forEach((entry, index) => {
    const at = `${where}[${index}]`;
    checkDraft(`${at}.draft`, entry.draft);
    if (entry.jobId !== undefined) checkUuid(`${at}.jobId`, entry.jobId);
    if (entry.bindTo) checkSession(`${at}.bindTo`, entry.bindTo);
    if (ids.has(entry.draft.leaseId)) {
      throw inputInvalid(`${at}.draft.leaseId`, `${entry.draft.leaseId} stands twice`, 'each lease once');
    }
    ids.add(entry.draft.leaseId);
    bytes += entry.draft.payload.value.length + (entry.secrets?.length ?? 0);
    if (entry.secrets) checkCount(`${at}.secrets: bytes`, entry.secrets.length, storeLimits.secretsBytesMax);
  });
  checkCount(`${where}: bytes of payload`, bytes, storeLimits.callBytesMax);
}

function checkDraft(where: string, draft: LeaseDraft): void {
  const { priorityMin, priorityMax, attemptsMax, backoffMsMax, nameLengthMax, idLengthMax } = storeLimits;
  checkUuid(`${where}.leaseId`, draft.leaseId);
  checkText(`${where}.source`, draft.source, idLengthMax);
  checkText(`${where}.name`, draft.name, nameLengthMax, true);
  if (draft.submitter !== undefined) checkText(`${where}.submitter`, draft.submitter, idLengthMax, true);
  checkPayload(`${where}.payload`, draft.payload, storeLimits.payloadBytesMax);
  checkWhole(`${where}.priority`, draft.priority, priorityMin, priorityMax);
  checkWhole(`${where}.runLimitMs`, draft.runLimitMs, 0, runLimitMsMax);
  checkWhole(`${where}.cancelGraceMs`, draft.cancelGraceMs, 0, runLimitMsMax);
  checkWhole(`${where}.retry.attemptsMax`, draft.retry.attemptsMax, 1, attemptsMax);
  checkWhole(`${where}.retry.backoffMs`, draft.retry.backoffMs, 0, backoffMsMax);
  if (draft.absence) checkWhole(`${where}.absence.msMax`, draft.absence.msMax, 1, storeLimits.absenceMsMax);
  for (const [name, limitMs] of Object.entries(draft.timeouts ?? {})) {
    if (limitMs !== undefined) checkWhole(`${where}.timeouts.${name}`, limitMs, 1, runLimitMsMax);
  }
  // The stores call it to group leases, and it throws for what is not right; the cache makes this free for repeats.
  leaseClassKey(draft);
}

/** Throws for writes beyond the bounds of one call, or an output that is too large. */
export function checkAttemptWrites(writes: readonly AttemptWrite[]): void {
  checkCount('writes', writes.length, storeLimits.writesPerCallMax);
  let bytes = 0;
  writes.forEach((write, index) => {
    if (write.kind !== 'end' || !write.output) return;
    checkPayload(`writes[${index}].output`, write.output, storeLimits.payloadBytesMax);
    bytes += write.output.value.length;
  });
  checkCount('writes: bytes of output', bytes, storeLimits.callBytesMax);
}

/** Throws for an Any without a type, or with more bytes than `limitBytes`. */
export function checkPayload(where: string, payload: Any, limitBytes: number): void {
  checkText(`${where}.typeUrl`, payload.typeUrl, storeLimits.idLengthMax);
  if (payload.value.length > limitBytes) throw payloadTooLarge(where, payload.value.length, limitBytes);
}

/** Throws for jobs that no store takes. */
export function checkJobDrafts(jobs: readonly JobDraft[]): void {
  checkCount('jobs', jobs.length, storeLimits.jobsPerCallMax);
  const leases: EnqueueEntry[] = [];
  const ids = new Set<string>();
  jobs.forEach((job, index) => {
    const at = `jobs[${index}]`;
    checkUuid(`${at}.jobId`, job.jobId);
    if (ids.has(job.jobId)) throw inputInvalid(`${at}.jobId`, `${job.jobId} stands twice`, 'each job once');
    ids.add(job.jobId);
    if (job.requestId !== undefined) checkText(`${at}.requestId`, job.requestId, storeLimits.idLengthMax);
    checkText(`${at}.name`, job.name, storeLimits.nameLengthMax, true);
    checkPayload(`${at}.payload`, job.payload, storeLimits.jobPayloadBytesMax);
    checkWhole(`${at}.priority`, job.priority, storeLimits.priorityMin, storeLimits.priorityMax);
    checkWhole(`${at}.leases.length`, job.leases.length, 1, storeLimits.leasesPerCallMax);
    for (const lease of job.leases) {
      if (lease.jobId !== job.jobId) {
        throw inputInvalid(`${at}.leases`, `a lease of job ${String(lease.jobId)}`, `leases of job ${job.jobId}`);
      }
      leases.push(lease);
    }
  });
  checkEnqueueEntries(leases, 'jobs.leases');
}

/** Throws for a claim beyond its bounds. */
export function checkClaim(request: ClaimRequest): void {
  checkText('source', request.source, storeLimits.idLengthMax);
  checkCount('classIds', request.classIds.length, storeLimits.claimMax);
  checkCount('places', request.places.length, storeLimits.claimMax);
  request.classIds.forEach((id, index) => checkWhole(`classIds[${index}]`, id, 0, 2 ** 31 - 1));
  request.places.forEach((place, index) => checkSession(`places[${index}]`, place));
  if (request.agedMs !== undefined) checkWhole('agedMs', request.agedMs, 0, Number.MAX_SAFE_INTEGER);
  if (request.shares === undefined) return;
  if (request.shares.length !== request.classIds.length) {
    throw inputInvalid(
      'shares',
      `${request.shares.length} of them`,
      `one for each of ${request.classIds.length} classes`,
    );
  }
  request.shares.forEach(({ submitter, start, step }, index) => {
    checkWhole(`shares[${index}].submitter`, submitter, 0, 2 ** 31 - 1);
    if (!Number.isFinite(start)) throw inputInvalid(`shares[${index}].start`, String(start), 'a finite number');
    if (!(Number.isFinite(step) && step > 0)) {
      throw inputInvalid(`shares[${index}].step`, String(step), 'a finite number above 0');
    }
  });
}

/** Throws for a session that cannot be opened, whatever the store holds. */
export function checkNewSession(session: NewSession): void {
  const { idLengthMax, writesPerCallMax } = storeLimits;
  checkText('agentId', session.agentId, idLengthMax);
  checkText('sessionId', session.sessionId, idLengthMax);
  checkText('serverId', session.serverId, idLengthMax);
  checkText('instanceNonce', session.instanceNonce, idLengthMax);
  checkCount('proven', session.proven.length, writesPerCallMax);
}

/** Throws for drains that no store takes. */
export function checkDrains(drains: readonly AgentDrain[]): void {
  checkReleases(drains);
  drains.forEach(({ ttlMs }, index) => checkWhole(`drains[${index}].ttlMs`, ttlMs, 1, storeLimits.drainTtlMsMax));
}

/** Throws for drains that no store has. */
export function checkReleases(drains: readonly (SessionRef & { readonly source: string })[]): void {
  checkCount('drains', drains.length, storeLimits.claimMax);
  drains.forEach((drain, index) => {
    checkSession(`drains[${index}]`, drain);
    checkText(`drains[${index}].source`, drain.source, storeLimits.idLengthMax);
  });
}

/** Throws for an attempt of a session that cannot exist. */
export function checkAttemptKey(key: SessionRef & { readonly leaseId: string; readonly attempt: number }): void {
  checkSession('session', key);
  checkUuid('leaseId', key.leaseId);
  checkWhole('attempt', key.attempt, 1, 2 ** 31 - 1);
}

/** Throws for a log that cannot exist. */
export function checkLogRef(ref: LogRef): void {
  checkUuid('leaseId', ref.leaseId);
  checkWhole('attempt', ref.attempt, 1, 2 ** 31 - 1);
  checkText('log', ref.log, storeLimits.logNameLengthMax);
}

/** Throws for bytes that no log takes. */
export function checkLogAppend(entry: LogAppend): void {
  checkLogRef(entry);
  checkSession('session', entry);
  checkWhole('offset', entry.offset, 0, Number.MAX_SAFE_INTEGER);
  checkCount('data: bytes', entry.data.length, storeLimits.logAppendBytesMax);
}

/** A text for a person as it is stored: without NUL, at most `messageBytesMax` bytes, cut between characters. */
export function storedMessage(text: string): string {
  const clean = text.replaceAll('\0', '\uFFFD').toWellFormed();
  // No character has more than three bytes for one UTF-16 unit, so a short text needs no encoding to be measured.
  if (clean.length * 3 <= storeLimits.messageBytesMax) return clean;
  const bytes = new TextEncoder().encode(clean);
  if (bytes.length <= storeLimits.messageBytesMax) return clean;
  let end: number = storeLimits.messageBytesMax;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

const keyCacheMax = 10_000;
const keyCache = new Map<string, string>();

/**
 * Equal for drafts of one source and payload type that stand in one class: who submits them and what they ask for. Throws
 * what `requirementsKey` of lease-matching throws.
 */
export function leaseClassKey({
  requirements,
  submitter = '',
}: Pick<LeaseDraft, 'requirements' | 'submitter'>): string {
  const key = cachedRequirementsKey(requirements);
  // The first part is JSON, which has no line break of its own.
  return submitter === '' ? key : `${key}\n${submitter}`;
}

/** `requirementsKey` of lease-matching, remembered for the last 10,000 spellings. */
function cachedRequirementsKey(requirements: LeaseDraft['requirements']): string {
  const spelling = JSON.stringify(requirements);
  const known = keyCache.get(spelling);
  if (known !== undefined) return known;
  const key = requirementsKey(requirements);
  if (key.includes('\\u0000')) throw inputInvalid('requirements', 'a NUL character', 'text without NUL');
  if (keyCache.size >= keyCacheMax) keyCache.delete(keyCache.keys().next().value as string);
  keyCache.set(spelling, key);
  return key;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
