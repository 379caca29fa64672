import { passingRefusalCodes, passingRefusalDelayMs } from '@drover/lease-kit';
import { isUuid, storedMessage, storeLimits, type AttemptWrite, type AttemptWriteResult } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { outcomeCode } from './internal/outcome-code.ts';
import { plainArray, textArray } from './internal/sql-array.ts';
import { packBytes } from './internal/packed-bytes.ts';

/** What became of a write, with what a store's other calls need to know of the lease. */
export type RecordedWrite = AttemptWriteResult & { readonly classId?: number };

interface AppliedRow {
  readonly no: number;
  readonly final: boolean | null;
  readonly job_id: string | null;
  readonly class_id: number;
}

interface SettledRow {
  readonly no: number;
  readonly live_state: number | null;
  readonly outcome: number | null;
  readonly final: boolean | null;
  readonly job_id: string | null;
}

const acceptedState = 2;

/**
 * Persists acceptances and ends of any number of sessions. 1 round trip, 1 commit; a second round trip only for writes
 * that met no bound attempt, to tell a repetition from a fenced one.
 *
 * Rows written: an acceptance is one heap-only update. An end that is final is one delete and one row of history with its
 * entry by lease (and by job). An end that is followed by another attempt is one update with its index entries and one
 * row of history. An acceptance whose attempt ends in the same call writes nothing of its own.
 *
 * Acceptances by which agents go down have a statement and a commit of their own, so that all others need not look.
 *
 * Each row is decided by the statement that changes it, so that no lock is taken before: if a concurrent wish to cancel
 * changes the decision, the row stays as it is and the write is tried again with a new snapshot.
 */
export class RecordAttempts {
  readonly #accept: Statement;
  readonly #goDown: Statement;
  readonly #finish: Statement;
  readonly #any: Statement;
  readonly #settle: Statement;

  constructor(s: string) {
    const keys = `$1::uuid[], $2::int[], $3::text[], $4::bigint[]`;
    // No plain equality of the agent: a planner without statistics would take its index, and read for each write all that
    // the agent holds.
    const bound = `l.lease_id = w.lease_id and l.attempt = w.attempt and l.epoch = w.epoch
      and l.agent_id is not distinct from w.agent_id`;
    // The same rule as retryDecision() of lease-store; the compliance cases hold them together.
    const again = `(not w.no_retry and l.state <> 3 and (w.outcome = 6 or (
      l.counted + 1 < l.attempts_max and (l.retry_after >> w.outcome) & 1 = 1
      and (w.outcome <> 1 or w.succeeded is false))))`;
    const passes = `(w.outcome = 6 and coalesce(w.reason_code, '') in (${passingRefusalCodes.map((code) => `'${code}'`).join(', ')}))`;
    const accepted = `
      accepted as (
        update ${s}.leases l set state = ${acceptedState} from w
         where ${bound} and w.outcome = 0 and l.state = 1
        returning w.no, l.job_id, l.class_id)`;
    this.#goDown = statement(
      'record_going_down',
      `with w as (
         select * from unnest(${keys}) with ordinality as w(lease_id, attempt, agent_id, epoch, no))
       update ${s}.leases l
          set state = greatest(l.state, ${acceptedState}), going_down_at = coalesce(l.going_down_at, now())
         from w where ${bound}
       returning w.no, null::boolean as final, l.job_id, l.class_id`,
    );
    const acceptedRows = `select no, null::boolean as final, job_id, class_id from accepted`;
    const ended = (condition: string) => `
      ended as (
        delete from ${s}.leases l using w
         where ${bound} and ${condition}
        returning w.no, w.outcome, w.succeeded, w.reason_code, w.reason_message, w.output_type, w.place, w.size,
                  l.lease_id, l.job_id, l.seq, l.created_at, l.assigned_at, l.epoch, l.class_id, l.attempt, l.rank,
                  l.state, l.cancel_code, l.agent_id, l.name, l.excluded),
      kept as (
        insert into ${s}.lease_history (lease_id, job_id, seq, created_at, assigned_at, ended_at, epoch, class_id,
               attempt, rank, outcome, succeeded, cancel_wished, agent_id, name, excluded, reason_code, reason_message,
               output_type, output)
        select lease_id, job_id, seq, created_at, assigned_at, now(), epoch, class_id, attempt, rank, outcome,
               succeeded, state = 3 and cancel_code is null, agent_id, name, excluded, reason_code, reason_message, output_type,
               case when place > 0 then substring($13::bytea from place for size) end
          from ended)`;
    const retried = `
      retried as (
        update ${s}.leases l
           set state = 0, agent_id = null, epoch = null, going_down_at = null,
               counted = l.counted + (w.outcome <> 6)::int,
               due_at = case
                 when ${passes} then now() + ${passingRefusalDelayMs} * interval '1 millisecond'
                 when w.outcome <> 6 and l.backoff_ms > 0 then now() + least(
                          ${storeLimits.backoffMsMax}, l.backoff_ms * (1::bigint << l.counted)) * interval '1 millisecond' end,
               excluded = case when w.outcome = 6 and not ${passes}
                 then (array_append(array_remove(l.excluded, w.agent_id), w.agent_id))[
                        greatest(1, coalesce(cardinality(array_remove(l.excluded, w.agent_id)), 0) + 2 - ${storeLimits.excludedAgentsMax}):]
                 else l.excluded end
          from w
         where ${bound} and w.outcome > 0 and ${again}
        returning w.no, w.outcome, w.reason_code, w.reason_message, l.assigned_at, w.agent_id, w.epoch,
                  l.lease_id, l.attempt, l.job_id, l.class_id),
      tried as (
        insert into ${s}.attempt_history (lease_id, attempt, epoch, assigned_at, ended_at, outcome, agent_id,
               reason_code, reason_message)
        select lease_id, attempt, epoch, assigned_at, now(), outcome, agent_id, reason_code, reason_message
          from retried)`;
    const endedRows = `select no, true as final, job_id, class_id from ended`;
    // Read once, it is no table of its own; only the statement for every kind of write needs one.
    const acceptances = `
      w as (
        select *, 0 as outcome from unnest(${keys}) with ordinality as w(lease_id, attempt, agent_id, epoch, no))`;
    const ends = `
      w as (
        select * from unnest(${keys}, $5::smallint[], $6::text[], $7::text[], $8::boolean[], $9::boolean[], $10::text[],
                      $11::int[], $12::int[]) with ordinality
            as w(lease_id, attempt, agent_id, epoch, outcome, reason_code, reason_message, succeeded, no_retry,
                 output_type, place, size, no))`;
    this.#accept = statement('record_acceptances', `with ${acceptances}, ${accepted} ${acceptedRows}`);
    this.#finish = statement('record_final_ends', `with ${ends}, ${ended('true')} ${endedRows}`);
    this.#any = statement(
      'record_any',
      `with ${ends}, ${accepted}, ${ended(`w.outcome > 0 and not ${again}`)}, ${retried}
       ${acceptedRows} union all ${endedRows} union all select no, false, job_id, class_id from retried`,
    );
    this.#settle = statement(
      'record_settle',
      `with w as materialized (
         select * from unnest(${keys}) with ordinality as w(lease_id, attempt, agent_id, epoch, no))
       select w.no, l.state as live_state, coalesce(h.outcome, a.outcome) as outcome, h.outcome is not null as final,
              coalesce(h.job_id, j.job_id) as job_id
         from w
         left join lateral (select l.state from ${s}.leases l where ${bound} offset 0) l on true
         left join lateral (
           select l.outcome, l.job_id from ${s}.lease_history l where ${bound} limit 1) h on true
         left join lateral (select l.job_id from ${s}.leases l where l.lease_id = w.lease_id offset 0) j on true
         left join lateral (
           select l.outcome from ${s}.attempt_history l where ${bound} limit 1) a on true`,
    );
  }

  /** Answers in the order of the writes. */
  async run(session: Session, writes: readonly AttemptWrite[]): Promise<RecordedWrite[]> {
    const results: (RecordedWrite | undefined)[] = writes.map(() => undefined);
    const groups = groupByAttempt(writes);
    let open = [...groups.values()];
    // A write whose row changed under it is tried again; who changes it each time also makes progress.
    for (let round = 1; open.length > 0 && round <= 8; round += 1) {
      const missed = await this.#apply(session, open, writes, results);
      if (missed.length === 0) break;
      open = await this.#settleMissed(session, missed, writes, results);
    }
    return results.map((result) => result ?? { result: 'fenced' });
  }

  async #apply(
    session: Session,
    groups: readonly AttemptGroup[],
    writes: readonly AttemptWrite[],
    results: (RecordedWrite | undefined)[],
  ): Promise<AttemptGroup[]> {
    const leaving = groups.filter((group) => group.end === undefined && group.goingDown !== undefined);
    if (leaving.length > 0 && leaving.length < groups.length) {
      const others = groups.filter((group) => !leaving.includes(group));
      const missed = await this.#apply(session, leaving, writes, results);
      return [...missed, ...(await this.#apply(session, others, writes, results))];
    }
    // In one order everywhere, so that two calls that meet on the same leases do not deadlock.
    const sorted = [...groups].sort((a, b) => (a.leaseId < b.leaseId ? -1 : 1));
    const heads = sorted.map((group) => writes[group.end ?? group.goingDown ?? group.first] as AttemptWrite);
    const areAcceptances = heads.every((write) => write.kind === 'acceptance');
    const areFinal = heads.every((write) => write.kind === 'end' && !mayRetry(write));
    const taking = leaving.length > 0 ? this.#goDown : this.#accept;
    const chosen = areAcceptances ? taking : areFinal ? this.#finish : this.#any;
    const values = areAcceptances ? keysOf(heads) : endValues(heads);
    const rows = await session.run<AppliedRow>(chosen, values);
    const found = new Map(rows.map((row) => [row.no, row]));
    const missed: AttemptGroup[] = [];
    sorted.forEach((group, index) => {
      const row = found.get(index + 1);
      if (!row) {
        missed.push(group);
        return;
      }
      const known = { ...(row.job_id === null ? {} : { jobId: row.job_id }), classId: row.class_id };
      answer(group, writes, results, (write) =>
        write.kind === 'acceptance'
          ? { result: 'persisted', ...known }
          : { result: 'persisted', final: row.final === true, ...known },
      );
    });
    return missed;
  }

  async #settleMissed(
    session: Session,
    missed: readonly AttemptGroup[],
    writes: readonly AttemptWrite[],
    results: (RecordedWrite | undefined)[],
  ): Promise<AttemptGroup[]> {
    const heads = missed.map((group) => writes[group.first] as AttemptWrite);
    const rows = await session.run<SettledRow>(this.#settle, keysOf(heads));
    const again: AttemptGroup[] = [];
    for (const row of rows) {
      const group = missed[row.no - 1] as AttemptGroup;
      const isLive = row.live_state !== null;
      const hasEnd = group.end !== undefined;
      if (isLive && (hasEnd || row.live_state < acceptedState)) {
        again.push(group);
        continue;
      }
      const outcome = row.outcome;
      answer(group, writes, results, (write) => {
        const isRepeat =
          write.kind === 'acceptance'
            ? isLive || (outcome !== null && outcome !== outcomeCode('lost') && outcome !== outcomeCode('refused'))
            : outcome === outcomeCode(write.outcome);
        if (!isRepeat) return { result: 'fenced' };
        const job = row.job_id === null ? {} : { jobId: row.job_id };
        return { result: 'persisted', ...(write.kind === 'end' ? { final: row.final === true } : {}), ...job };
      });
    }
    return again;
  }
}

/** The writes of one call about one attempt of one session. */
interface AttemptGroup {
  readonly leaseId: string;
  /** Index of its first write. */
  readonly first: number;
  readonly all: number[];
  /** Index of its first end; the end stands for an acceptance in the same call. */
  end: number | undefined;
  /** Index of its first acceptance by which its agent goes down. */
  goingDown: number | undefined;
}

function groupByAttempt(writes: readonly AttemptWrite[]): Map<string, AttemptGroup> {
  const groups = new Map<string, AttemptGroup>();
  writes.forEach((write, index) => {
    // What could never have been bound is fenced like anything that is not.
    if (!isUuid(write.leaseId) || write.agentId.includes('\0')) return;
    if (!Number.isSafeInteger(write.attempt) || write.attempt < 1 || write.attempt > 2 ** 31 - 1) return;
    if (!Number.isSafeInteger(write.epoch)) return;
    const key = `${write.leaseId} ${write.attempt} ${write.epoch} ${write.agentId}`;
    const group = groups.get(key) ?? {
      leaseId: write.leaseId,
      first: index,
      all: [],
      end: undefined,
      goingDown: undefined,
    };
    groups.set(key, group);
    group.all.push(index);
    if (write.kind === 'end') group.end ??= index;
    else if (write.goingDown) group.goingDown ??= index;
  });
  return groups;
}

function answer(
  group: AttemptGroup,
  writes: readonly AttemptWrite[],
  results: (RecordedWrite | undefined)[],
  result: (write: AttemptWrite) => RecordedWrite,
): void {
  const end = group.end === undefined ? undefined : writes[group.end];
  for (const index of group.all) {
    const write = writes[index] as AttemptWrite;
    // A second end of the same attempt repeats the first or contradicts it.
    const contradicts = end?.kind === 'end' && write.kind === 'end' && write.outcome !== end.outcome;
    results[index] = contradicts ? { result: 'fenced' } : result(write);
  }
}

function keysOf(writes: readonly AttemptWrite[]): unknown[] {
  return [
    plainArray(writes.map((write) => write.leaseId)),
    plainArray(writes.map((write) => write.attempt)),
    textArray(writes.map((write) => write.agentId)),
    plainArray(writes.map((write) => write.epoch)),
  ];
}

function endValues(writes: readonly AttemptWrite[]): unknown[] {
  const ends = writes.map((write) => (write.kind === 'end' ? write : undefined));
  const outputs = packBytes(ends.map((end) => end?.output?.value));
  return [
    ...keysOf(writes),
    plainArray(ends.map((end) => (end ? outcomeCode(end.outcome) : 0))),
    textArray(ends.map((end) => (end?.reason ? storedMessage(end.reason.code) : null))),
    textArray(ends.map((end) => (end?.reason ? storedMessage(end.reason.message) : null))),
    plainArray(ends.map((end) => end?.succeeded)),
    plainArray(ends.map((end) => end?.noRetry ?? false)),
    textArray(ends.map((end) => end?.output?.typeUrl)),
    plainArray(outputs.offsets),
    plainArray(outputs.lengths),
    outputs.bytes,
  ];
}

/** True if the lease of an end may go on: spares most ends the look at its policy. */
function mayRetry(write: AttemptWrite): boolean {
  if (write.kind === 'acceptance' || write.noRetry || write.outcome === 'cancelled') return false;
  return write.outcome !== 'completed' || write.succeeded === false;
}
