import { principalName, type Principal } from '@drover/lease-kit';
import {
  agentsNotFound,
  checkAgentIds,
  checkPage,
  checkText,
  checkWhole,
  storeLimits,
  type AgentSettings,
} from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';

interface SettingsRow {
  readonly agent_id: string;
  readonly disabled_ms: number | null;
  readonly disabled_by: string | null;
  readonly disabled_comment: string | null;
  readonly until_ms: number | null;
  readonly busy_ms: number | null;
  readonly busy_by: string | null;
  readonly busy_comment: string | null;
}

const ms = (column: string): string => `floor(extract(epoch from ${column}) * 1000)::bigint`;
const columns = `agent_id, ${ms('disabled_at')} as disabled_ms, disabled_by, disabled_comment,
  case when busy_until > now() then ${ms('busy_until')} end as until_ms, ${ms('busy_at')} as busy_ms, busy_by, busy_comment`;
const isSet = '(disabled_at is not null or busy_until > now())';

/**
 * What operators set for agents: a row for each agent that is disabled or was made busy. Reading is 1 round trip; a change is
 * 2 in one transaction, so that it happens to all agents that it names or to none.
 */
export class AgentSettingsRecords {
  readonly #page: Statement;
  readonly #of: Statement;
  readonly #known: Statement;
  readonly #disable: Statement;
  readonly #enable: Statement;
  readonly #busy: Statement;

  constructor(s: string) {
    this.#page = statement(
      'settings_page',
      `select ${columns} from ${s}.agent_settings where agent_id > $1 and ${isSet} order by agent_id limit $2`,
    );
    this.#of = statement(
      'settings_of',
      `select ${columns} from ${s}.agent_settings where agent_id = any($1::text[]) and ${isSet} order by agent_id`,
    );
    // The lock keeps the agents from being forgotten before their settings are there.
    this.#known = statement(
      'settings_known',
      `select agent_id from ${s}.agents where agent_id = any($1::text[]) order by agent_id for key share`,
    );
    this.#disable = statement(
      'settings_disable',
      `insert into ${s}.agent_settings (agent_id, disabled_at, disabled_by, disabled_comment)
       select id, now(), $2, $3 from unnest($1::text[]) as id order by id
       on conflict (agent_id) do update set disabled_at = now(), disabled_by = $2, disabled_comment = $3`,
    );
    this.#enable = statement(
      'settings_enable',
      `update ${s}.agent_settings set disabled_at = null, disabled_by = null, disabled_comment = null
        where agent_id = any($1::text[])`,
    );
    this.#busy = statement(
      'settings_busy',
      `insert into ${s}.agent_settings (agent_id, busy_until, busy_at, busy_by, busy_comment)
       select id, now() + $2 * interval '1 millisecond', now(), $3, $4 from unnest($1::text[]) as id order by id
       on conflict (agent_id) do update
         set busy_until = excluded.busy_until, busy_at = now(), busy_by = $3, busy_comment = $4`,
    );
  }

  async page(session: Session, page: { readonly after?: string; readonly limit: number }): Promise<AgentSettings[]> {
    checkPage(page);
    return (await session.run<SettingsRow>(this.#page, [page.after ?? '', page.limit])).map(settingsOf);
  }

  async of(session: Session, agentIds: readonly string[]): Promise<AgentSettings[]> {
    if (agentIds.length === 0) return [];
    checkAgentIds(agentIds);
    return (await session.run<SettingsRow>(this.#of, [agentIds])).map(settingsOf);
  }

  /** In a transaction. */
  async setEnabled(
    session: Session,
    agentIds: readonly string[],
    { enabled, comment }: { readonly enabled: boolean; readonly comment: string },
    by: Principal,
  ): Promise<void> {
    checkText('comment', comment, storeLimits.commentLengthMax, true);
    const ids = await this.#knownIds(session, agentIds);
    if (enabled) await session.run(this.#enable, [ids]);
    else await session.run(this.#disable, [ids, principalName(by), comment]);
  }

  /** In a transaction. */
  async setBusy(
    session: Session,
    agentIds: readonly string[],
    { busyForMs, comment }: { readonly busyForMs: number; readonly comment: string },
    by: Principal,
  ): Promise<void> {
    checkText('comment', comment, storeLimits.commentLengthMax, true);
    checkWhole('busyForMs', busyForMs, 0, storeLimits.busyForMsMax);
    const ids = await this.#knownIds(session, agentIds);
    await session.run(this.#busy, [ids, busyForMs, principalName(by), comment]);
  }

  async #knownIds(session: Session, agentIds: readonly string[]): Promise<readonly string[]> {
    checkAgentIds(agentIds);
    const ids = [...new Set(agentIds)];
    const known = new Set((await session.run<{ agent_id: string }>(this.#known, [ids])).map((row) => row.agent_id));
    const missing = ids.filter((agentId) => !known.has(agentId));
    if (missing.length > 0) throw agentsNotFound(missing);
    return ids;
  }
}

function settingsOf(row: SettingsRow): AgentSettings {
  const {
    agent_id: agentId,
    disabled_ms,
    disabled_by,
    disabled_comment,
    until_ms,
    busy_ms,
    busy_by,
    busy_comment,
  } = row;
  return {
    agentId,
    ...(disabled_ms === null
      ? {}
      : { disabled: { comment: disabled_comment ?? '', by: disabled_by ?? '', atMs: disabled_ms } }),
    ...(until_ms === null
      ? {}
      : { busy: { comment: busy_comment ?? '', by: busy_by ?? '', atMs: busy_ms ?? 0, untilMs: until_ms } }),
  };
}
