import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbeddedPostgres } from '@drover/postgres-embedded';
import pg from 'pg';
import { quietPool } from './quiet-pool.ts';

/** What the database has done since it was started; differences mean something. */
export interface DatabaseCounters {
  /** Bytes of write-ahead log of the whole server. */
  readonly walBytes: number;
  /** Transactions that wrote: each took a transaction id. Of the whole server. */
  readonly writeCommits: number;
}

/** The Postgres of one run of a suite. */
export interface BenchPostgres extends AsyncDisposable {
  readonly version: string;
  /** Settings that decide what a commit costs, as the server runs with them. */
  readonly settings: Readonly<Record<string, string>>;
  /** Makes an empty database and answers its URL. */
  createDatabase(name: string): Promise<string>;
  /** Writes all dirty pages, so that each round starts alike. */
  checkpoint(): Promise<void>;
  counters(): Promise<DatabaseCounters>;
  /**
   * Commits of one database, those that only read included. An idle backend tells its number after 10 s at the latest,
   * which this waits for.
   */
  settledCommits(database: string): Promise<number>;
  /** The same without waiting: right when the database's backends have ended. */
  commits(database: string): Promise<number>;
}

const told = ['fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'shared_buffers', 'max_wal_size'];

/** Starts the embedded Postgres as the apps do, with its defaults and fsync on, on a data folder that is removed afterwards. */
export async function startBenchPostgres(signal: AbortSignal): Promise<BenchPostgres> {
  await using started = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'drover-bench-postgres-'));
  started.defer(() => rm(dir, { recursive: true, force: true }));
  const relocationDir = `${dir}-data`;
  started.defer(() => rm(relocationDir, { recursive: true, force: true }));
  const postgres = started.use(await startEmbeddedPostgres({ dataDir: dir, relocationDir, signal }));
  const pool = quietPool(postgres.url, 2);
  started.defer(() => pool.end());
  const { rows } = await pool.query<{ name: string; setting: string }>(
    `select name, current_setting(name) as setting from pg_settings where name = any($1)`,
    [told],
  );
  const settings = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  if (settings['fsync'] !== 'on') throw new Error('the benchmark wants a Postgres with fsync on');

  const commitsOf = async (database: string): Promise<number> => {
    const result = await pool.query<{ commits: string }>(
      'select xact_commit::text as commits from pg_stat_database where datname = $1',
      [database],
    );
    return Number(result.rows[0]?.commits);
  };
  const parts = started.move();
  return {
    version: postgres.version,
    settings,
    async createDatabase(name) {
      await pool.query(`create database ${pg.escapeIdentifier(name)}`);
      const url = new URL(postgres.url);
      url.pathname = `/${name}`;
      return url.href;
    },
    async checkpoint() {
      await pool.query('checkpoint');
    },
    async counters() {
      const result = await pool.query<{ wal: string; xid: string }>(
        `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text as wal,
                pg_snapshot_xmax(pg_current_snapshot())::text as xid`,
      );
      const row = result.rows[0];
      return { walBytes: Number(row?.wal), writeCommits: Number(row?.xid) };
    },
    async settledCommits(database) {
      await sleep(10_500, undefined, { signal });
      return commitsOf(database);
    },
    commits: commitsOf,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
