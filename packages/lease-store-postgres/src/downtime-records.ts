import { principalName, type Principal } from '@drover/lease-kit';
import {
  checkDowntime,
  checkPage,
  downtimeNotFound,
  downtimesFull,
  isUuid,
  storeLimits,
  type DowntimeDraft,
  type DowntimeRecord,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

type Definition = Pick<DowntimeDraft, 'schedule' | 'durationMs' | 'agents' | 'pools'>;

interface DowntimeRow {
  readonly downtime_id: string;
  readonly definition: Definition;
  readonly comment: string;
  readonly created_by: string;
  readonly created_ms: number;
}

const columns = `downtime_id, definition, comment, created_by,
  floor(extract(epoch from created_at) * 1000)::bigint as created_ms`;
const firstId = '00000000-0000-0000-0000-000000000000';

/** Downtimes, a row each. 1 round trip a call, and adding one is a transaction of 3, in which the bound is counted. */
export class DowntimeRecords {
  readonly #lock: string;
  readonly #forget: Statement;
  readonly #page: Statement;
  readonly #add: Statement;
  readonly #remove: Statement;

  constructor(s: string) {
    this.#lock = `lock table ${s}.downtimes in share row exclusive mode`;
    this.#forget = statement(
      'downtimes_forget',
      `delete from ${s}.downtimes where over_at < now() - interval '${storeLimits.pastDowntimeMs} milliseconds'`,
    );
    this.#page = statement(
      'downtimes_page',
      `select ${columns} from ${s}.downtimes where downtime_id > $1::uuid order by downtime_id limit $2`,
    );
    this.#add = statement(
      'downtime_add',
      `insert into ${s}.downtimes (downtime_id, over_at, created_by, comment, definition)
       select $1, to_timestamp($2::double precision / 1000), $3, $4, $5::jsonb
        where (select count(*) from ${s}.downtimes) < ${storeLimits.downtimesMax} returning ${columns}`,
    );
    this.#remove = statement(
      'downtime_remove',
      `delete from ${s}.downtimes where downtime_id = $1 returning ${columns}`,
    );
  }

  async page(session: Session, page: { readonly after?: string; readonly limit: number }): Promise<DowntimeRecord[]> {
    checkPage(page);
    const after = page.after !== undefined && isUuid(page.after) ? page.after : firstId;
    return (await session.run<DowntimeRow>(this.#page, [after, page.limit])).map(recordOf);
  }

  /** In a transaction. */
  async add(session: Session, draft: DowntimeDraft, by: Principal): Promise<DowntimeRecord> {
    checkDowntime(draft);
    const { downtimeId, schedule, durationMs, agents, pools, comment } = draft;
    await session.text(this.#lock);
    await session.run(this.#forget, []);
    const overMs = schedule.kind === 'once' ? schedule.startMs + durationMs : null;
    const definition = JSON.stringify({ schedule, durationMs, agents, pools } satisfies Definition);
    const values = [downtimeId, overMs, principalName(by), comment, definition];
    const [row] = await session.run<DowntimeRow>(this.#add, values);
    if (!row) throw downtimesFull(storeLimits.downtimesMax);
    return recordOf(row);
  }

  async remove(session: Session, downtimeId: string): Promise<DowntimeRecord> {
    const [row] = isUuid(downtimeId) ? await session.run<DowntimeRow>(this.#remove, [downtimeId]) : [];
    if (!row) throw downtimeNotFound(downtimeId);
    return recordOf(row);
  }
}

function recordOf({ downtime_id, definition, comment, created_by, created_ms }: DowntimeRow): DowntimeRecord {
  return { downtimeId: downtime_id, ...definition, comment, by: created_by, atMs: created_ms };
}
