import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Client } from 'pg';
import { embeddedPostgresError } from '../internal/errors.ts';

/** Environment variable that names the Postgres of a test run; a vitest global set-up sets it before the workers start. */
export const testPostgresUrlVariable = 'DROVER_TEST_POSTGRES_URL';

/** A fresh, empty database for one test file. */
export interface TestDatabase extends AsyncDisposable {
  /** Connection string of the database. */
  readonly url: string;
  readonly name: string;
  /** Removes the database and ends whatever is still connected to it. Idempotent. */
  drop(): Promise<void>;
}

/**
 * Creates a database that no other test sees.
 *
 * @param serverUrl Where: a role that may create databases. Absent means the Postgres of the test run, which stands
 * ready when a file named `*.postgres.test.ts` or `*.e2e.test.ts` is in the run.
 * @throws `EMBEDDED_POSTGRES_OPTION_INVALID` when there is no such server.
 */
export async function createTestDatabase(serverUrl = process.env[testPostgresUrlVariable]): Promise<TestDatabase> {
  if (serverUrl === undefined || serverUrl === '') {
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_OPTION_INVALID',
      'This test run has no Postgres: name the file *.postgres.test.ts or *.e2e.test.ts, or pass the URL of one.',
    );
  }
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(serverUrl, `create database ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  let dropping: Promise<void> | undefined;
  const drop = (): Promise<void> => (dropping ??= dropDatabase(serverUrl, name));
  return { url: url.href, name, drop, [Symbol.asyncDispose]: drop };
}

/** How long clients that say goodbye have: a pool has ended before its connections have. */
const goodbyeTries = 50;
const goodbyeMs = 10;

async function dropDatabase(url: string, name: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    for (let tries = 0; tries < goodbyeTries; tries += 1) {
      const { rowCount } = await client.query('select 1 from pg_stat_activity where datname = $1 limit 1', [name]);
      if (rowCount === 0) break;
      await wait(goodbyeMs);
    }
    await client.query(`drop database if exists ${name} with (force)`);
  } finally {
    await client.end();
  }
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
