import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { payloadTypeOf } from '@drover/lease-kit';
import { storeLimits, type AttemptRecord, type LeaseRecord } from '@drover/lease-store';
import { sql, type Kysely } from 'kysely';
import type { Session } from './internal/database.ts';
import { leaseStates, outcomeFromCode } from './internal/outcome-code.ts';
import type { Tables } from './internal/tables.ts';
import type { LeaseClasses } from './lease-classes.ts';

/** What {@link LeaseRecords} is made of. */
export interface LeaseRecordsDeps {
  readonly build: Kysely<Tables>;
  readonly classes: LeaseClasses;
}

/** Which leases to read. */
export type LeaseSelection = { readonly jobIds: readonly string[] } | { readonly leaseIds: readonly string[] };

type LiveRow = Pick<
  Tables['leases'],
  'lease_id' | 'job_id' | 'seq' | 'class_id' | 'rank' | 'state' | 'attempt' | 'agent_id' | 'excluded' | 'name'
> & { readonly created_ms: number; readonly assigned_ms: number | null };

/** Milliseconds since the epoch of a column. */
export function epochMs<Value extends number | null = number>(column: string) {
  return sql<Value>`floor(extract(epoch from ${sql.ref(column)}) * 1000)::bigint`;
}

/** Reads whole records of leases, live or ended. */
export class LeaseRecords {
  readonly #deps: LeaseRecordsDeps;

  constructor(deps: LeaseRecordsDeps) {
    this.#deps = deps;
  }

  /** Leases in the order of their arrival. */
  async select(session: Session, selection: LeaseSelection, withOutputs: boolean): Promise<LeaseRecord[]> {
    // Live ones first: a lease that ends in between is then seen twice rather than never.
    const live = await session.query(this.live().where(...inSelection(selection)));
    const ended = await session.query(this.#ended(withOutputs).where(...inSelection(selection)));
    const endedIds = new Set(ended.map((row) => row.lease_id));
    const rows = [...live.filter((row) => !endedIds.has(row.lease_id)), ...ended].sort((a, b) => a.seq - b.seq);
    return this.#records(session, rows);
  }

  /** Records of live rows, in their order. */
  async ofLive(session: Session, rows: readonly LiveRow[]): Promise<LeaseRecord[]> {
    return this.#records(session, rows);
  }

  /** A query for live leases. */
  live() {
    return this.#deps.build
      .selectFrom('leases')
      .select(['lease_id', 'job_id', 'seq', 'class_id', 'rank', 'state', 'attempt', 'agent_id', 'excluded', 'name'])
      .select([epochMs('created_at').as('created_ms'), epochMs<number | null>('assigned_at').as('assigned_ms')]);
  }

  #ended(withOutputs: boolean) {
    return this.#deps.build
      .selectFrom('lease_history')
      .select(['lease_id', 'job_id', 'seq', 'class_id', 'rank', 'attempt', 'agent_id', 'excluded', 'name'])
      .select(['outcome', 'succeeded', 'cancel_wished', 'reason_code', 'reason_message', 'output_type'])
      .select([epochMs('created_at').as('created_ms'), epochMs<number | null>('assigned_at').as('assigned_ms')])
      .select(epochMs('ended_at').as('ended_ms'))
      .select(
        withOutputs ? sql<Uint8Array | null>`output`.as('output') : sql<Uint8Array | null>`null::bytea`.as('output'),
      );
  }

  async #records(session: Session, rows: readonly (LiveRow | EndedRow)[]): Promise<LeaseRecord[]> {
    if (rows.length === 0) return [];
    const ids = rows.map((row) => row.lease_id);
    await this.#deps.classes.load(
      session,
      rows.map((row) => row.class_id),
    );
    const earlier = await this.#earlierAttempts(session, ids);
    const progress = await session.query(
      this.#deps.build
        .selectFrom('progress')
        .select(['lease_id', 'attempt', 'percent', 'message'])
        .where('lease_id', '=', anyOf(ids)),
    );
    const progressOf = new Map(progress.map((row) => [`${row.lease_id} ${row.attempt}`, row]));
    return rows.map((row) => {
      const { source, typeUrl, requirements } = this.#deps.classes.of(row.class_id);
      const shown = progressOf.get(`${row.lease_id} ${row.attempt}`);
      const attempts = [...(earlier.get(row.lease_id) ?? []), ...currentAttempt(row)];
      return {
        leaseId: row.lease_id,
        ...(row.job_id === null ? {} : { jobId: row.job_id }),
        name: row.name,
        source,
        payloadType: payloadTypeOf({ typeUrl }),
        requirements,
        priority: row.rank === 0 ? 0 : -row.rank,
        createdAtMs: row.created_ms,
        attempts: attempts.slice(-storeLimits.attemptsShownMax),
        excludedAgents: row.excluded ?? [],
        ...(shown ? { progress: { percent: shown.percent, message: shown.message } } : {}),
        ...stateOf(row),
      };
    });
  }

  async #earlierAttempts(session: Session, ids: readonly string[]): Promise<Map<string, AttemptRecord[]>> {
    const rows = await session.query(
      this.#deps.build
        .selectFrom('attempt_history')
        .select(['lease_id', 'attempt', 'agent_id', 'outcome', 'reason_code', 'reason_message'])
        .select([epochMs('assigned_at').as('assigned_ms'), epochMs('ended_at').as('ended_ms')])
        .where('lease_id', '=', anyOf(ids))
        .orderBy('lease_id')
        .orderBy('attempt'),
    );
    const byLease = new Map<string, AttemptRecord[]>();
    for (const row of rows) {
      const attempts = byLease.get(row.lease_id) ?? [];
      byLease.set(row.lease_id, attempts);
      attempts.push({
        attempt: row.attempt,
        agentId: row.agent_id,
        assignedAtMs: row.assigned_ms,
        end: endOf(row),
      });
      if (attempts.length > storeLimits.attemptsShownMax) attempts.shift();
    }
    return byLease;
  }
}

interface EndedRow extends Omit<LiveRow, 'state'> {
  readonly outcome: number;
  readonly succeeded: boolean | null;
  readonly cancel_wished: boolean;
  readonly ended_ms: number;
  readonly reason_code: string | null;
  readonly reason_message: string | null;
  readonly output_type: string | null;
  readonly output: Uint8Array | null;
}

function inSelection(selection: LeaseSelection): ['job_id' | 'lease_id', '=', ReturnType<typeof anyOf>] {
  return 'jobIds' in selection
    ? ['job_id', '=', anyOf(selection.jobIds)]
    : ['lease_id', '=', anyOf(selection.leaseIds)];
}

/** `any` of ids as one parameter, so that the text of a query does not depend on their number. */
export function anyOf(ids: readonly string[]) {
  return sql<string>`any(${ids}::uuid[])`;
}

function endOf(row: { ended_ms: number; outcome: number; reason_code: string | null; reason_message: string | null }) {
  return {
    atMs: row.ended_ms,
    outcome: outcomeFromCode(row.outcome),
    ...(row.reason_code === null ? {} : { reason: { code: row.reason_code, message: row.reason_message ?? '' } }),
  };
}

function currentAttempt(row: LiveRow | EndedRow): AttemptRecord[] {
  // A lease that waits again, or was cancelled while it waited, has its attempts in the history alone.
  if (row.agent_id === null || row.assigned_ms === null) return [];
  const { attempt, agent_id: agentId, assigned_ms: assignedAtMs } = row;
  return [{ attempt, agentId, assignedAtMs, ...('outcome' in row ? { end: endOf(row) } : {}) }];
}

function stateOf(
  row: LiveRow | EndedRow,
): Pick<LeaseRecord, 'state' | 'cancelWished' | 'endedWaiting' | 'output' | 'succeeded'> {
  if ('outcome' in row) {
    const { output_type: typeUrl, output } = row;
    return {
      state: 'ended',
      cancelWished: row.cancel_wished,
      ...(row.agent_id === null && !row.cancel_wished && row.reason_code !== null
        ? { endedWaiting: { code: row.reason_code, message: row.reason_message ?? '' } }
        : {}),
      succeeded: outcomeFromCode(row.outcome) === 'completed' && row.succeeded !== false,
      ...(typeUrl !== null && output ? { output: create(AnySchema, { typeUrl, value: output }) } : {}),
    };
  }
  const state = leaseStates[row.state];
  if (state === undefined) throw new RangeError(`lease in state ${row.state}`);
  return { state, cancelWished: state === 'cancelling' };
}
