import { randomUUIDv7 } from 'node:crypto';
import { createPostgresStore, migrate } from '@drover/lease-store-postgres';
import { startChild, type Child } from './child-process.ts';
import type { DroverAgentMethods } from './children/drover-agent.ts';
import type { DroverServerMethods } from './children/drover-server.ts';
import { startedTogether, type LifecycleSystem } from './lifecycle-system.ts';
import { benchSource, noopDraft } from './noop-lease-type.ts';
import { quietPool } from './quiet-pool.ts';

/** Drover with one server and its agents, each in a process of its own, and clients in this one. */
export interface DroverSystem extends LifecycleSystem {
  readonly server: Child<DroverServerMethods>;
  readonly agents: readonly Child<DroverAgentMethods>[];
  /** Of the server. */
  readonly url: string;
}

/** How {@link startDroverSystem} starts. */
export interface DroverSystemOptions {
  /** A database of its own; the schema is made if it is not there. */
  readonly databaseUrl: string;
  /** Connections that clients enqueue over. */
  readonly clients: number;
  /** Agents, each in a process of its own. */
  readonly agents: number;
  /** Leases that an agent may hold at once, those included whose end is not settled. */
  readonly leasesMax: number;
  /** Connections of the server. */
  readonly serverConnections: number;
  readonly keepsTimes: boolean;
}

const principal = { kind: 'service', id: 'bench' } as const;

/** Starts server, agents and clients, and waits until the agents wait for work. */
export async function startDroverSystem(options: DroverSystemOptions): Promise<DroverSystem> {
  const { databaseUrl, clients, agents: agentCount, leasesMax, serverConnections, keepsTimes } = options;
  await using started = new AsyncDisposableStack();
  // One for each client and one for the message that work waits.
  const pool = quietPool(databaseUrl, clients + 1);
  started.defer(() => pool.end());
  const looking = quietPool(databaseUrl, 1);
  started.defer(() => looking.end());
  await migrate(pool);
  const store = started.use(createPostgresStore({ pool }));

  const server = started.use(
    startChild<DroverServerMethods>({
      entry: new URL('children/drover-server.ts', import.meta.url),
      nodeFlags: ['--expose-gc'],
    }),
  );
  const { url } = await server.call('start', { databaseUrl, connections: serverConnections, port: 0, keepsTimes });
  const agents = Array.from({ length: agentCount }, () =>
    started.use(startChild<DroverAgentMethods>({ entry: new URL('children/drover-agent.ts', import.meta.url) })),
  );
  for (const [index, agent] of agents.entries()) {
    await agent.call('start', { url, agentId: `bench-agent-${index}`, leasesMax, keepsTimes });
  }
  await waitUntil(async () => (await server.call('status'))?.hungry === agentCount);

  const parts = started.move();
  return {
    server,
    agents,
    url,
    async enqueue(count) {
      const ids = Array.from({ length: count }, () => randomUUIDv7());
      await store.queue.enqueue(
        ids.map((id) => ({ draft: noopDraft(id) })),
        { principal },
      );
      store.signals.announce({ kind: 'work', source: benchSource });
      return ids;
    },
    handlersStarted: (count) => startedTogether(agents, count),
    async allEnded() {
      const { rows } = await looking.query<{ live: boolean }>('select exists (select from drover.leases) as live');
      return rows[0]?.live === false;
    },
    async endedBadly() {
      // Outcome 1 is `completed`; a second attempt would be one that was lost.
      const { rows } = await looking.query<{ count: string }>(
        'select count(*) as count from drover.lease_history where outcome <> 1 or attempt <> 1',
      );
      return Number(rows[0]?.count);
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > untilMs) throw new Error('the agents do not come to wait for work');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
