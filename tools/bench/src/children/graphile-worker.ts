import { run, type Logger } from 'graphile-worker';
import type pg from 'pg';
import { serveParent } from '../child-process.ts';
import { graphileWorkerOptions, type GraphileConfiguration } from '../graphile-configuration.ts';
import { silentGraphileLogger } from '../graphile-logger.ts';
import { monotonicMs } from '../monotonic-ms.ts';
import { NotedMoments } from '../noted-moments.ts';
import { quietPool } from '../quiet-pool.ts';

/** How a worker of the peer runs. */
export interface GraphileWorkerStart {
  readonly databaseUrl: string;
  readonly configuration: GraphileConfiguration;
  /** Notes when each handler started and when each completion was stored. */
  readonly keepsTimes: boolean;
}

/** What a worker of the peer answers. */
export type GraphileWorkerMethods = typeof methods;

const running = new AsyncDisposableStack();
const started = new NotedMoments();
const endStored = new NotedMoments();

async function start({ databaseUrl, configuration, keepsTimes }: GraphileWorkerStart): Promise<void> {
  const pool = quietPool(databaseUrl, configuration.maxPoolSize);
  running.defer(() => pool.end());
  if (keepsTimes) pool.on('connect', noteCompletions);
  const logger: Logger = silentGraphileLogger();
  const runner = await run({
    pgPool: pool,
    noHandleSignals: true,
    preset: { worker: { ...graphileWorkerOptions(configuration), logger } },
    taskList: {
      noop(_payload, { job }) {
        started.add(job.id, keepsTimes);
      },
    },
  });
  running.defer(() => runner.stop());
}

/**
 * The worker does not wait for the statement that stores a completion, nor tells when it has answered: so that the
 * statement itself is watched. Looks at the clock and changes nothing.
 */
function noteCompletions(client: pg.PoolClient): void {
  const query = client.query.bind(client) as (...all: unknown[]) => unknown;
  const watched = (...all: unknown[]): unknown => {
    const answer = query(...all);
    const [first] = all as [{ readonly name?: string; readonly values?: readonly unknown[] } | undefined];
    if (first?.name?.startsWith('complete_job') !== true || !(answer instanceof Promise)) return answer;
    const ids = [first.values?.[0]].flat().map(String);
    return answer.then((result: unknown) => {
      const atMs = monotonicMs();
      for (const id of ids) endStored.add(id, true, atMs);
      return result;
    });
  };
  Object.assign(client, { query: watched });
}

const methods = {
  start,
  reached: (count: number) => started.reached(count),
  startedCount: () => started.count,
  takeStarts: () => started.takeTimes(),
  endsReached: (count: number) => endStored.reached(count),
  takeEnds: () => endStored.takeTimes(),
};

serveParent(methods, () => running.disposeAsync());
