import { principalName, type Principal } from '@drover/lease-kit';
import { poolKey, poolsMax } from '@drover/lease-matching';
import {
  checkPage,
  checkPoolDraft,
  poolExists,
  poolNotFound,
  poolsFull,
  storedPool,
  type PoolDraft,
  type PoolRecord,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

interface PoolRow {
  readonly name: string;
  readonly agents: string[] | null;
  readonly condition: string | null;
  readonly weights: Record<string, number> | null;
  readonly comment: string;
  readonly changed_by: string;
  readonly changed_ms: number;
}

const columns = `name, agents, condition, weights, comment, changed_by,
  floor(extract(epoch from changed_at) * 1000)::bigint as changed_ms`;

/** Pools, a row each. Each call is 1 round trip, and creating one takes a transaction, in which the bound is counted. */
export class PoolRecords {
  readonly #lock: string;
  readonly #page: Statement;
  readonly #create: Statement;
  readonly #replace: Statement;
  readonly #remove: Statement;

  constructor(s: string) {
    this.#lock = `lock table ${s}.pools in share row exclusive mode`;
    this.#page = statement(
      'pools_page',
      `select ${columns} from ${s}.pools where pool_key collate "C" > $1 order by pool_key collate "C" limit $2`,
    );
    this.#create = statement(
      'pool_create',
      `with made as (
         insert into ${s}.pools (pool_key, name, agents, condition, weights, comment, changed_by)
         select $1, $2, $3, $4, $5, $6, $7 where (select count(*) from ${s}.pools) < ${poolsMax}
         on conflict do nothing returning *)
       select ${columns}, exists (select 1 from ${s}.pools where pool_key = $1) as is_there
         from made right join (select) one on true`,
    );
    this.#replace = statement(
      'pool_replace',
      `update ${s}.pools set name = $2, agents = $3, condition = $4, weights = $5, comment = $6, changed_by = $7, changed_at = now()
        where pool_key = $1 returning ${columns}`,
    );
    this.#remove = statement('pool_remove', `delete from ${s}.pools where pool_key = $1 returning pool_key`);
  }

  async page(session: Session, page: { readonly after?: string; readonly limit: number }): Promise<PoolRecord[]> {
    checkPage(page);
    return (await session.run<PoolRow>(this.#page, [poolKey(page.after ?? ''), page.limit])).map(recordOf);
  }

  /** In a transaction. */
  async create(session: Session, draft: PoolDraft, by: Principal): Promise<PoolRecord> {
    checkPoolDraft(draft);
    await session.text(this.#lock);
    const [row] = await session.run<Partial<PoolRow> & { is_there: boolean }>(this.#create, values(draft, by));
    if (row?.is_there === true) throw poolExists(draft.name);
    if (row?.name === undefined || row.name === null) throw poolsFull(poolsMax);
    return recordOf(row as PoolRow);
  }

  async replace(session: Session, draft: PoolDraft, by: Principal): Promise<PoolRecord> {
    checkPoolDraft(draft);
    const [row] = await session.run<PoolRow>(this.#replace, values(draft, by));
    if (!row) throw poolNotFound(draft.name);
    return recordOf(row);
  }

  async remove(session: Session, name: string): Promise<void> {
    const removed = await session.run(this.#remove, [poolKey(name)]);
    if (removed.length === 0) throw poolNotFound(name);
  }
}

function values(draft: PoolDraft, by: Principal): unknown[] {
  const { key, name, agents, condition, weights, comment } = storedPool(draft);
  const weightsText = weights === undefined ? null : JSON.stringify(weights);
  return [key, name, agents ?? null, condition ?? null, weightsText, comment, principalName(by)];
}

function recordOf({ name, agents, condition, weights, comment, changed_by, changed_ms }: PoolRow): PoolRecord {
  return {
    name,
    ...(agents === null ? {} : { agents }),
    ...(condition === null ? {} : { condition }),
    ...(weights === null ? {} : { weights }),
    comment,
    changedBy: changed_by,
    changedAtMs: changed_ms,
  };
}
