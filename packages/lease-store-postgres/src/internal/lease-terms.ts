import type { AssignedAttempt } from '@drover/lease-kit';
import { textArray } from './sql-array.ts';

/** What a lease grants and limits beyond what every lease has, as its column `terms` holds it. */
export type LeaseTerms = Pick<AssignedAttempt, 'absence' | 'timeouts'>;

/** The terms of a lease, of which most have none. */
export function termsOf({ absence, timeouts }: LeaseTerms): LeaseTerms {
  return { ...(absence ? { absence } : {}), ...(timeouts && Object.keys(timeouts).length > 0 ? { timeouts } : {}) };
}

/** {@link termsOf} as it is stored: null where there are none. */
export function storedTerms(lease: LeaseTerms): string | null {
  return lease.absence === undefined && lease.timeouts === undefined ? null : JSON.stringify(termsOf(lease));
}

/** An array for `unnest`, which is empty, and so costs nothing, where no lease has terms: missing elements count as null. */
export function termsArray(leases: readonly LeaseTerms[]): string {
  const terms = leases.map(storedTerms);
  return terms.every((one) => one === null) ? '{}' : textArray(terms);
}

/** SQL for the moment at which a lease with these terms, created now, ends at the latest. */
export function expiresAtSql(terms: string): string {
  return `now() + (${terms} -> 'timeouts' ->> 'leaseMsMax')::bigint * interval '1 millisecond'`;
}
