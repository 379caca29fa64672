/** One query, as `pg` takes it. */
export interface PostgresQuery {
  readonly text: string;
  readonly values?: unknown[];
  /** Prepared once on each connection under this name. */
  readonly name?: string;
  /** How texts of the wire become values; keeps the store independent of type parsers that an application sets. */
  readonly types?: { getTypeParser(oid: number, format?: string): (text: string) => unknown };
}

/** A connection taken from a {@link PostgresPool}; `PoolClient` of `pg` is one. */
export interface PostgresConnection {
  query(query: PostgresQuery): Promise<{ readonly rows: unknown[]; readonly rowCount: number | null }>;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
  on(event: 'notification', listener: (message: { channel: string; payload?: string | undefined }) => void): unknown;
  /** Gives it back; with `true` or an error it is closed instead. */
  release(destroy?: Error | boolean): void;
}

/**
 * What the store needs of a pool; `Pool` of `pg` (8.11 or later) is one. Give the store a pool of its own: it sets
 * planner settings and time limits on every connection that it takes, and keeps one connection to listen on. The pool
 * stays yours to end.
 */
export interface PostgresPool {
  connect(): Promise<PostgresConnection>;
  /** Where an idle connection's failure is reported, which would end the process if nobody listened. */
  on?(event: 'error', listener: (error: Error) => void): unknown;
  removeListener?(event: 'error', listener: (error: Error) => void): unknown;
}
