import { readFile } from 'node:fs/promises';
import { makeWorkerUtils, runMigrations } from 'graphile-worker';
import type { GraphileWorkerMethods } from './children/graphile-worker.ts';
import { startChild, type Child } from './child-process.ts';
import type { GraphileConfiguration } from './graphile-configuration.ts';
import { silentGraphileLogger } from './graphile-logger.ts';
import { startedTogether, type LifecycleSystem } from './lifecycle-system.ts';
import { quietPool } from './quiet-pool.ts';

/** Version of the peer that is installed. */
export async function graphileVersion(): Promise<string> {
  const file = new URL('../package.json', import.meta.resolve('graphile-worker'));
  const { version } = JSON.parse(await readFile(file, 'utf8')) as { readonly version: string };
  return version;
}

/** The peer with its workers in processes of their own, and clients in this one. */
export interface GraphilePeer extends LifecycleSystem {
  readonly workers: readonly Child<GraphileWorkerMethods>[];
}

/** How {@link startGraphilePeer} starts. */
export interface GraphilePeerOptions {
  /** A database of its own; the schema is made if it is not there. */
  readonly databaseUrl: string;
  readonly configuration: GraphileConfiguration;
  /** Connections that clients enqueue over. */
  readonly clients: number;
  readonly keepsTimes: boolean;
}

/** Starts workers and clients of graphile-worker. */
export async function startGraphilePeer(options: GraphilePeerOptions): Promise<GraphilePeer> {
  const { databaseUrl, configuration, clients, keepsTimes } = options;
  await using started = new AsyncDisposableStack();
  const logger = silentGraphileLogger();
  await runMigrations({ connectionString: databaseUrl, preset: { worker: { logger } } });
  const pool = quietPool(databaseUrl, clients);
  started.defer(() => pool.end());
  // One more, so that looking costs no client its connection.
  const looking = quietPool(databaseUrl, 1);
  started.defer(() => looking.end());
  const utils = await makeWorkerUtils({ pgPool: pool, preset: { worker: { logger } } });
  started.defer(async () => {
    await utils.release();
  });
  const workers = Array.from({ length: configuration.processes }, () => {
    const child = startChild<GraphileWorkerMethods>({ entry: new URL('children/graphile-worker.ts', import.meta.url) });
    return started.use(child);
  });
  for (const worker of workers) await worker.call('start', { databaseUrl, configuration, keepsTimes });

  const parts = started.move();
  return {
    workers,
    async enqueue(count) {
      if (count === 1) return [(await utils.addJob('noop', {})).id];
      const jobs = await utils.addJobs(Array.from({ length: count }, () => ({ identifier: 'noop', payload: {} })));
      return jobs.map(({ id }) => id);
    },
    handlersStarted: (count) => startedTogether(workers, count),
    async allEnded() {
      const { rows } = await looking.query<{ live: boolean }>(
        'select exists (select from graphile_worker._private_jobs) as live',
      );
      return rows[0]?.live === false;
    },
    async endedBadly() {
      const { rows } = await looking.query<{ count: string }>(
        'select count(*) as count from graphile_worker._private_jobs where last_error is not null',
      );
      return Number(rows[0]?.count);
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
