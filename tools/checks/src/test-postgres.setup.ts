import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startEmbeddedPostgres } from '@drover/postgres-embedded';
import { testPostgresUrlVariable } from '@drover/postgres-embedded/testing';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Connection string of the Postgres of this run; empty when no file of the run needs one. */
    readonly postgresUrl: string;
  }
}

const needsPostgres = /\.(postgres|e2e)\.test\.ts$/;

/**
 * The one Postgres of a test run, started before the first file when the run holds a `*.postgres.test.ts` or an
 * `*.e2e.test.ts`, and gone with the run. Its data is throwaway: no fsync.
 */
export async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const isNeeded = project.vitest.state.getPaths().some((path) => needsPostgres.test(path));
  if (!isNeeded) {
    project.provide('postgresUrl', '');
    return undefined;
  }
  const base = await mkdtemp(join(tmpdir(), 'drover-test-postgres-'));
  // Root gives the server to another user, who must be able to pass through.
  await chmod(base, 0o711);
  const postgres = await startEmbeddedPostgres({ dataDir: join(base, 'data'), isThrowaway: true });
  project.provide('postgresUrl', postgres.url);
  // Workers are forked with this environment, and processes that an end-to-end test starts inherit it.
  process.env[testPostgresUrlVariable] = postgres.url;
  return async () => {
    await postgres.stop();
    await rm(base, { recursive: true, force: true });
    await rm(postgres.dataDir, { recursive: true, force: true });
  };
}
