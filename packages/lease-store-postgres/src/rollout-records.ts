import { rolloutGroup } from '@drover/agent-rollouts';
import { principalName } from '@drover/lease-kit';
import {
  auditedRollout,
  changedRollout,
  channelsFull,
  checkPage,
  checkRolloutDraft,
  previousOf,
  rolloutChanged,
  rolloutNotFound,
  storeLimits,
  type RolloutChange,
  type RolloutDraft,
  type RolloutRecord,
  type StoreContext,
} from '@drover/lease-store';
import type { AuditLines } from './audit-lines.ts';
import { statement, type Session, type Statement } from './internal/database.ts';

interface RolloutRow {
  readonly channel: string;
  readonly revision: number;
  readonly rollout_id: string;
  readonly state: RolloutRecord['state'];
  readonly ring: number;
  readonly ring_done_for_ms: number | null;
  readonly reason: string | null;
  readonly started_by: string;
  readonly started_ms: number;
  readonly draft: string;
  readonly previous: string | null;
}

const columns = `channel, revision, rollout_id::text as rollout_id, state, ring, reason::text as reason, started_by,
  floor(extract(epoch from now() - ring_done_at) * 1000)::bigint as ring_done_for_ms,
  floor(extract(epoch from started_at) * 1000)::bigint as started_ms,
  draft::text as draft, previous::text as previous`;

/** Roll-outs, a row a channel. Reading is 1 round trip; a change is a transaction that locks its row. */
export class RolloutRecords {
  readonly #audit: AuditLines;
  readonly #lock: string;
  readonly #one: Statement;
  readonly #locked: Statement;
  readonly #page: Statement;
  readonly #count: Statement;
  readonly #put: Statement;
  readonly #update: Statement;
  readonly #stop: Statement;

  constructor(s: string, audit: AuditLines) {
    this.#audit = audit;
    this.#lock = `lock table ${s}.rollouts in share row exclusive mode`;
    this.#one = statement('rollout_one', `select ${columns} from ${s}.rollouts where channel = $1`);
    this.#locked = statement('rollout_locked', `select ${columns} from ${s}.rollouts where channel = $1 for update`);
    this.#page = statement(
      'rollouts_page',
      `select ${columns} from ${s}.rollouts where channel collate "C" > $1 order by channel collate "C" limit $2`,
    );
    this.#count = statement('rollouts_count', `select count(*)::bigint as channels from ${s}.rollouts`);
    this.#put = statement(
      'rollout_put',
      `insert into ${s}.rollouts (channel, revision, rollout_id, state, ring, started_by, draft, previous)
       values ($1, $2, $3::uuid, 'rolling', 0, $4, $5::jsonb, $6::jsonb)
       on conflict (channel) do update set revision = excluded.revision, rollout_id = excluded.rollout_id,
         state = excluded.state, ring = excluded.ring, ring_done_at = null, reason = null,
         started_by = excluded.started_by, started_at = now(), draft = excluded.draft, previous = excluded.previous
       returning ${columns}`,
    );
    this.#update = statement(
      'rollout_update',
      `update ${s}.rollouts set revision = revision + 1, rollout_id = $2::uuid, state = $3, ring = $4,
              ring_done_at = case when $5::boolean then coalesce(ring_done_at, now()) end, reason = $6::jsonb
        where channel = $1 returning ${columns}`,
    );
    // In the order in which everybody locks tasks. One that is being bound is waited for, and is then carried by its lease.
    this.#stop = statement(
      'rollout_stop',
      `with t as materialized (
         select source, agent_id from ${s}.agent_tasks
          where group_name = $1 and wanted and lease_id is null order by source, agent_id for update)
       update ${s}.agent_tasks a set wanted = false, draining_until = null, revision = nextval('${s}.agent_task_seq')
         from t where a.source = t.source and a.agent_id = t.agent_id`,
    );
  }

  /** In a transaction. */
  async start(session: Session, draft: RolloutDraft, context: StoreContext): Promise<RolloutRecord> {
    checkRolloutDraft(draft);
    await session.text(this.#lock);
    const before = await this.one(session, draft.channel);
    const [count] = await session.run<{ channels: number }>(this.#count, []);
    if (before === undefined && count!.channels >= storeLimits.channelsMax) throw channelsFull(storeLimits.channelsMax);
    const { channel, rolloutId, ...fixed } = draft;
    const previous = previousOf(before);
    const [row] = await session.run<RolloutRow>(this.#put, [
      channel,
      (before?.revision ?? 0) + 1,
      rolloutId,
      principalName(context.principal),
      JSON.stringify(fixed),
      previous === undefined ? null : JSON.stringify(previous),
    ]);
    const record = recordOf(row!);
    if (before !== undefined) await session.run(this.#stop, [rolloutGroup(before.rolloutId)]);
    await this.#note(session, context, before, record);
    return record;
  }

  async one(session: Session, channel: string): Promise<RolloutRecord | undefined> {
    const [row] = await session.run<RolloutRow>(this.#one, [channel]);
    return row && recordOf(row);
  }

  async page(session: Session, page: { readonly after?: string; readonly limit: number }): Promise<RolloutRecord[]> {
    checkPage(page);
    return (await session.run<RolloutRow>(this.#page, [page.after ?? '', page.limit])).map(recordOf);
  }

  /** In a transaction. */
  async change(
    session: Session,
    channel: string,
    revision: number,
    change: RolloutChange,
    context: StoreContext,
  ): Promise<RolloutRecord> {
    const [row] = await session.run<RolloutRow>(this.#locked, [channel]);
    if (!row) throw rolloutNotFound(channel);
    const before = recordOf(row);
    if (before.revision !== revision) throw rolloutChanged(channel);
    const { rolloutId, state, ring, ringDone, reason } = changedRollout(before, change);
    const reasonText = reason === undefined ? null : JSON.stringify(reason);
    const [changed] = await session.run<RolloutRow>(this.#update, [
      ...[channel, rolloutId, state, ring, ringDone],
      reasonText,
    ]);
    const record = recordOf(changed!);
    if (state === 'halted' || rolloutId !== before.rolloutId) {
      await session.run(this.#stop, [rolloutGroup(before.rolloutId)]);
    }
    await this.#note(session, context, before, record);
    return record;
  }

  async #note(
    session: Session,
    context: StoreContext,
    before: RolloutRecord | undefined,
    after: RolloutRecord,
  ): Promise<void> {
    const audited = auditedRollout(before);
    await this.#audit.write(session, context, {
      subject: `channel:${after.channel}`,
      ...(audited === undefined ? {} : { before: audited }),
      after: auditedRollout(after)!,
    });
  }
}

function recordOf(row: RolloutRow): RolloutRecord {
  const draft = JSON.parse(row.draft) as Omit<RolloutDraft, 'channel' | 'rolloutId'>;
  return {
    channel: row.channel,
    rolloutId: row.rollout_id,
    ...draft,
    revision: row.revision,
    state: row.state,
    ring: row.ring,
    ...(row.ring_done_for_ms === null ? {} : { ringDoneForMs: row.ring_done_for_ms }),
    ...(row.reason === null ? {} : { reason: JSON.parse(row.reason) as NonNullable<RolloutRecord['reason']> }),
    ...(row.previous === null ? {} : { previous: JSON.parse(row.previous) as NonNullable<RolloutRecord['previous']> }),
    startedBy: row.started_by,
    startedAtMs: row.started_ms,
  };
}
