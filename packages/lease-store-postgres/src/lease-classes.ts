import { createHash } from 'node:crypto';
import type { LeaseDraft, LeaseRequirements } from '@drover/lease-kit';
import { leaseClassKey } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

/** What waiting leases of one class have in common. `requirements_key` in its row is the whole `leaseClassKey`. */
export interface LeaseClass {
  readonly classId: number;
  readonly source: string;
  /** Type URL of the payloads. */
  readonly typeUrl: string;
  readonly requirements: LeaseRequirements;
  /** Empty for nobody's. */
  readonly submitter: string;
}

interface ClassRow {
  readonly class_id: number;
  readonly source: string;
  readonly payload_type: string;
  readonly requirements_key: string;
  readonly requirements: LeaseRequirements;
  readonly submitter: string;
}

const cacheMax = 50_000;

/** Classes by key and by id: rows that never change, kept in the process, at most 50,000. */
export class LeaseClasses {
  readonly #byKey = new Map<string, LeaseClass>();
  readonly #byId = new Map<number, LeaseClass>();
  readonly #ensure: Statement;
  readonly #load: Statement;

  constructor(s: string) {
    // 1 round trip, only for classes that this process sees for the first time.
    this.#ensure = statement(
      'classes_ensure',
      `with i as materialized (
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
           as i(source, payload_type, requirements_key, requirements, key_digest, submitter)),
       old as materialized (
         select c.class_id, c.source, c.payload_type, c.requirements_key, c.requirements, c.submitter
           from i cross join lateral (
             select * from ${s}.lease_classes c
              where c.source = i.source and c.payload_type = i.payload_type
                and c.key_digest = i.key_digest offset 0) c),
       new as (
         insert into ${s}.lease_classes (source, payload_type, requirements_key, key_digest, requirements, submitter)
         select source, payload_type, requirements_key, key_digest, requirements::jsonb, submitter
           from i where not exists (
             select 1 from old where old.source = i.source and old.payload_type = i.payload_type
                and old.requirements_key = i.requirements_key)
         on conflict do nothing
         returning class_id, source, payload_type, requirements_key, requirements, submitter)
       select * from old union all select * from new`,
    );
    this.#load = statement(
      'classes_load',
      `select class_id, source, payload_type, requirements_key, requirements, submitter
         from ${s}.lease_classes where class_id = any($1::int[])`,
    );
  }

  /** Ids of the classes of drafts, in their order; makes those that do not exist. */
  async idsFor(session: Session, drafts: readonly LeaseDraft[]): Promise<number[]> {
    const keys = drafts.map((draft) => keyOf(draft.source, draft.payload.typeUrl, leaseClassKey(draft)));
    // Another server may insert the same class at this moment: its row shows in the next round.
    for (;;) {
      const missing = new Map<string, LeaseDraft>();
      drafts.forEach((draft, index) => {
        const key = keys[index] as string;
        if (!this.#byKey.has(key)) missing.set(key, draft);
      });
      if (missing.size === 0) return keys.map((key) => (this.#byKey.get(key) as LeaseClass).classId);
      const rows = [...missing.values()];
      this.#remember(
        await session.run<ClassRow>(this.#ensure, [
          rows.map((draft) => draft.source),
          rows.map((draft) => draft.payload.typeUrl),
          rows.map((draft) => leaseClassKey(draft)),
          rows.map((draft) => JSON.stringify(draft.requirements)),
          rows.map((draft) => digestOf(leaseClassKey(draft))),
          rows.map((draft) => draft.submitter ?? ''),
        ]),
      );
    }
  }

  /** Loads the classes of `ids` that are not known yet. An id without a class stays unknown. */
  async load(session: Session, ids: readonly number[]): Promise<void> {
    const missing = [...new Set(ids.filter((id) => !this.#byId.has(id)))];
    if (missing.length > 0) this.#remember(await session.run<ClassRow>(this.#load, [missing]));
  }

  /** A class by id, if it was loaded. */
  known(classId: number): LeaseClass | undefined {
    return this.#byId.get(classId);
  }

  /** A class that a lease has, loaded before. */
  of(classId: number): LeaseClass {
    const found = this.#byId.get(classId);
    if (!found) throw new RangeError(`lease class ${classId} is unknown`);
    return found;
  }

  #remember(rows: readonly ClassRow[]): void {
    if (this.#byId.size + rows.length > cacheMax) {
      this.#byKey.clear();
      this.#byId.clear();
    }
    for (const row of rows) {
      const { class_id: classId, source, payload_type: typeUrl, requirements, submitter } = row;
      const found = { classId, source, typeUrl, requirements, submitter };
      this.#byId.set(classId, found);
      this.#byKey.set(keyOf(source, typeUrl, row.requirements_key), found);
    }
  }
}

function digestOf(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function keyOf(source: string, typeUrl: string, classKey: string): string {
  return `${source}\0${typeUrl}\0${classKey}`;
}
