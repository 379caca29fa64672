import { sessionFenced, type EnqueueEntry, type SessionRef } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { packBytes } from './internal/packed-bytes.ts';
import { plainArray } from './internal/sql-array.ts';

/**
 * Sealed secrets stand in the row of their live lease, so that they go when it goes. They are written behind the rows, in the same
 * transaction: 1 round trip more for a call that has some, none for others. Reading them is 1 round trip.
 */
export class LeaseSecrets {
  readonly #keep: Statement;
  readonly #of: Statement;

  constructor(s: string) {
    this.#keep = statement(
      'secrets_keep',
      `update ${s}.leases l set secrets = substring($4::bytea from i.place for i.size)
         from unnest($1::uuid[], $2::int[], $3::int[]) as i(lease_id, place, size)
        where l.lease_id = i.lease_id and l.secrets is null`,
    );
    this.#of = statement(
      'secrets_of',
      `select secrets from ${s}.leases
        where lease_id = $1 and attempt = $2 and epoch = $3 and agent_id is not distinct from $4`,
    );
  }

  /** Adds the secrets of entries that were stored in this transaction; entries that were not stored have no row. */
  async keep(session: Session, entries: readonly EnqueueEntry[]): Promise<void> {
    const secret = entries.filter(({ secrets }) => secrets !== undefined);
    const packed = packBytes(secret.map(({ secrets }) => secrets));
    await session.run(this.#keep, [
      plainArray(secret.map(({ draft }) => draft.leaseId)),
      plainArray(packed.offsets),
      plainArray(packed.lengths),
      packed.bytes,
    ]);
  }

  async of(
    session: Session,
    key: SessionRef & { readonly leaseId: string; readonly attempt: number },
  ): Promise<Uint8Array | undefined> {
    const { leaseId, attempt, epoch, agentId } = key;
    const [row] = await session.run<{ secrets: Uint8Array | null }>(this.#of, [leaseId, attempt, epoch, agentId]);
    if (!row) throw sessionFenced(key, `attempt ${attempt} of lease ${leaseId}`);
    return row.secrets ?? undefined;
  }
}

/** Whether storing these takes a transaction for their secrets. */
export function haveSecrets(entries: readonly EnqueueEntry[]): boolean {
  return entries.some(({ secrets }) => secrets !== undefined);
}
