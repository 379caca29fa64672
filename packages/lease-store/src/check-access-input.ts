import { principalName } from '@drover/lease-kit';
import type { TokenDraft } from './access-store.ts';
import type { AuditDraft, AuditQuery } from './audit-store.ts';
import type { ChangeNote } from './change.ts';
import { checkCount, checkText, checkUuid, checkWhole } from './check-store-input.ts';
import type { StoreContext } from './store-context.ts';
import { inputInvalid } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

/** Throws `STORE_INPUT_INVALID` for a token that no store takes. */
export function checkTokenDraft(draft: TokenDraft): void {
  checkUuid('tokenId', draft.tokenId);
  if (draft.hash.length !== 32) throw inputInvalid('hash', `${draft.hash.length} bytes`, '32 bytes');
  checkText('user', draft.user, 128);
  checkText('comment', draft.comment, storeLimits.nameLengthMax, true);
  checkCount('pools', draft.pools.length, storeLimits.tokenPoolsMax);
  for (const pool of draft.pools) checkText('pools', pool, storeLimits.idLengthMax);
  if (draft.lifetimeMs !== undefined) checkWhole('lifetimeMs', draft.lifetimeMs, 1, storeLimits.tokenLifetimeMsMax);
}

/** Throws `STORE_INPUT_INVALID` for lines that no store takes. */
export function checkAuditDrafts(entries: readonly AuditDraft[]): void {
  checkCount('entries', entries.length, storeLimits.auditEntriesPerCallMax);
  for (const { who, action, subject, address, credential } of entries) {
    checkText('who', who, storeLimits.idLengthMax + 8);
    checkText('action', action, 64);
    checkText('subject', subject, storeLimits.idLengthMax, true);
    checkText('address', address, 64, true);
    checkText('credential', credential, 128);
  }
}

/** Throws `STORE_INPUT_INVALID` for a question that no store answers. */
export function checkAuditQuery(query: AuditQuery): void {
  checkWhole('limit', query.limit, 1, storeLimits.pageMax);
  if (query.before !== undefined && !/^\d{1,18}$/.test(query.before)) {
    throw inputInvalid('before', JSON.stringify(query.before), 'the id of an entry');
  }
  for (const name of ['who', 'action', 'subject'] as const) {
    const text = query[name];
    if (text !== undefined) checkText(name, text, storeLimits.idLengthMax + 8);
  }
}

/** What is kept of a record in the audit: its JSON; of a larger one only how large it is. */
export function auditText(record: Readonly<Record<string, unknown>> | undefined): string | undefined {
  if (record === undefined) return undefined;
  const text = JSON.stringify(record, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  // Postgres stores no NUL in JSON.
  const clean = text.replaceAll('\\u0000', '\\ufffd');
  const sizeBytes = Buffer.byteLength(clean);
  return sizeBytes <= storeLimits.auditRecordBytesMax ? clean : JSON.stringify({ tooLargeBytes: sizeBytes });
}

/** The line of the audit for what a store changes on behalf of `context`; undefined where it is no person's change. */
export function auditDraftOf(context: StoreContext, note: ChangeNote): AuditDraft | undefined {
  const { change, principal } = context;
  if (change === undefined) return undefined;
  const { action, address, credential } = change;
  return { who: principalName(principal), action, address, credential, ...note };
}
