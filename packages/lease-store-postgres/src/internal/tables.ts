import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely';

/** Columns as the value parsers read them: uuid and timestamptz stay text. */
export interface Tables {
  leases: {
    lease_id: string;
    job_id: string | null;
    seq: number;
    created_at: string;
    class_id: number;
    rank: number;
    state: number;
    attempt: number;
    assigned_at: string | null;
    due_at: string | null;
    agent_id: string | null;
    cancel_reason: string | null;
    excluded: string[] | null;
    name: string;
  };
  lease_history: {
    lease_id: string;
    job_id: string | null;
    seq: number;
    created_at: string;
    assigned_at: string | null;
    ended_at: string;
    class_id: number;
    attempt: number;
    rank: number;
    outcome: number;
    succeeded: boolean | null;
    cancel_wished: boolean;
    agent_id: string | null;
    name: string;
    excluded: string[] | null;
    reason_code: string | null;
    reason_message: string | null;
    output_type: string | null;
    output: Uint8Array | null;
  };
  attempt_history: {
    lease_id: string;
    attempt: number;
    assigned_at: string;
    ended_at: string;
    outcome: number;
    agent_id: string;
    reason_code: string | null;
    reason_message: string | null;
  };
  jobs: {
    job_id: string;
    created_at: string;
    priority: number;
    submitter: string;
    request_id: string | null;
    name: string;
    cancel_reason: string | null;
    payload_type: string;
  };
  agents: {
    agent_id: string;
    epoch: number;
    session_id: string | null;
    server_id: string | null;
    opened_at: string | null;
    condition: number;
    condition_code: string | null;
    condition_message: string | null;
    ephemeral: boolean;
    left_at: string | null;
    quarantined_until: string | null;
    drain_source: string | null;
    drain_reason: string | null;
    drained_until: string | null;
    description: Uint8Array;
  };
  enrolments: {
    agent_id: string;
    pools: string[];
  };
  logs: {
    lease_id: string;
    attempt: number;
    log: string;
    size_bytes: number;
    complete: boolean;
  };
  log_chunks: {
    lease_id: string;
    attempt: number;
    log: string;
    offset: number;
    data: Uint8Array;
  };
  agent_tasks: {
    source: string;
    agent_id: string;
    revision: number;
    wanted: boolean;
    forced: boolean;
    requested_at: string;
    not_before: string | null;
    expires_at: string;
    draining_until: string | null;
    failures: number;
    group_name: string | null;
    group_max: number | null;
    lease_id: string | null;
    last_lease_id: string | null;
    last_outcome: number | null;
    last_succeeded: boolean | null;
    last_at: string | null;
    last_code: string | null;
    last_message: string | null;
    requested_by: string;
    payload_type: string;
    payload: Uint8Array;
  };
  progress: {
    lease_id: string;
    attempt: number;
    percent: number;
    message: string;
  };
}

/** Builds queries for a schema. It never runs one: a call's own connection does, under its limits. */
export function queryBuilder(schema: string): Kysely<Tables> {
  return new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  }).withSchema(schema);
}
