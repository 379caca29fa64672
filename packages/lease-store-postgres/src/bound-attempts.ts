import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { BoundAttemptRecord, NewSession, SessionRef } from '@drover/lease-store';
import { statement, type Session, type Statement } from './internal/database.ts';
import { leaseStates } from './internal/outcome-code.ts';
import type { LeaseTerms } from './internal/lease-terms.ts';
import { plainArray } from './internal/sql-array.ts';
import type { LeaseClasses } from './lease-classes.ts';

interface BoundRow {
  readonly lease_id: string;
  readonly attempt: number;
  readonly epoch: number;
  readonly state: number;
  readonly class_id: number;
  readonly job_id: string | null;
  readonly cancel_reason: string | null;
  readonly cancel_code: string | null;
  readonly run_limit_ms: number;
  readonly cancel_grace_ms: number;
  readonly payload: Uint8Array;
  readonly terms: LeaseTerms | null;
}

const columns = `l.lease_id, l.attempt, l.epoch, l.state, l.class_id, l.job_id, l.cancel_reason, l.cancel_code,
  l.run_limit_ms, l.cancel_grace_ms, l.payload, l.terms`;

/** The attempts of an agent. 1 round trip each. */
export class BoundAttempts {
  readonly #classes: LeaseClasses;
  readonly #bound: Statement;
  readonly #rebind: Statement;

  constructor(s: string, classes: LeaseClasses) {
    this.#classes = classes;
    this.#bound = statement(
      'bound',
      `select ${columns} from ${s}.leases l where l.agent_id = $1 and l.epoch = $2 order by l.lease_id`,
    );
    // Heap-only updates: an epoch stands in no index.
    this.#rebind = statement(
      'rebind',
      `update ${s}.leases l set epoch = $2, going_down_at = case when p.going_down then l.going_down_at end
         from unnest($3::uuid[], $4::int[], $5::boolean[]) as p(lease_id, attempt, going_down)
        where l.lease_id = p.lease_id and l.attempt = p.attempt and l.agent_id is not distinct from $1 and l.epoch < $2
       returning ${columns}`,
    );
  }

  /** All attempts that are bound to a session. */
  async of(session: Session, ref: SessionRef): Promise<BoundAttemptRecord[]> {
    return this.#records(session, ref.agentId, await session.run<BoundRow>(this.#bound, [ref.agentId, ref.epoch]));
  }

  /**
   * Binds those of `proven` that are live with an earlier epoch of the agent to its new one. That it goes down is forgotten
   * unless the process that said so proves it: another one is the agent that has come back.
   */
  async rebind(session: Session, ref: SessionRef, proven: NewSession['proven']): Promise<BoundAttemptRecord[]> {
    const rows = await session.run<BoundRow>(this.#rebind, [
      ref.agentId,
      ref.epoch,
      plainArray(proven.map((key) => key.leaseId)),
      plainArray(proven.map((key) => key.attempt)),
      plainArray(proven.map((key) => key.goingDown === true)),
    ]);
    return this.#records(session, ref.agentId, rows);
  }

  async #records(session: Session, agentId: string, rows: readonly BoundRow[]): Promise<BoundAttemptRecord[]> {
    await this.#classes.load(
      session,
      rows.map((row) => row.class_id),
    );
    return rows.map((row) => {
      const { source, typeUrl, requirements } = this.#classes.of(row.class_id);
      const state = leaseStates[row.state];
      if (state === undefined || state === 'waiting') throw new RangeError(`bound lease in state ${row.state}`);
      return {
        leaseId: row.lease_id,
        attempt: row.attempt,
        agentId,
        epoch: row.epoch,
        payload: create(AnySchema, { typeUrl, value: row.payload }),
        requirements,
        runLimitMs: row.run_limit_ms,
        cancelGraceMs: row.cancel_grace_ms,
        ...row.terms,
        source,
        state,
        ...(row.cancel_reason === null ? {} : { cancelReason: row.cancel_reason }),
        ...(row.cancel_code === null ? {} : { cancelCode: row.cancel_code }),
        ...(row.job_id === null ? {} : { jobId: row.job_id }),
      };
    });
  }
}
