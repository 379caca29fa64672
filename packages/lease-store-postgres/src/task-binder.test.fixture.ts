import { Pool } from 'pg';
import { endOf, sampleContext as context, sampleDraft, sampleSession } from '@drover/lease-store/testing';
import { testPostgresUrl } from './fresh-schema.test.fixture.ts';
import { createPostgresStore } from './postgres-store.ts';

/**
 * A process that binds the tasks of its agents, ends what it has bound and settles it, until none of them is open; then it
 * sends how many it bound and the most leases that it saw at once. With `dies` it stops between an end and its settling, and
 * says so: it is there to be killed.
 */
const [schema = '', prefix = '', atOnceMax = '', mode = ''] = process.argv.slice(2);
const pool = new Pool({ connectionString: testPostgresUrl(), max: 4 });
const store = createPostgresStore({ pool }, { schema });
const { agentTasks } = store;
const retry = { backoffMs: [], failuresMax: 1 };
const agents = await Promise.all([1, 2, 3, 4].map((n) => sampleSession(store, `${prefix}-${n}`)));
let bound = 0;
let most = 0;
for (;;) {
  const open = new Map((await agentTasks.open('restart', context)).map((task) => [task.agentId, task]));
  const entries = agents.flatMap((session) => {
    const task = open.get(session.agentId);
    return task === undefined
      ? []
      : [
          {
            session,
            revision: task.revision,
            draft: sampleDraft({ source: 'restart', requirements: { exclusive: true } }),
          },
        ];
  });
  if (entries.length === 0) break;
  const results = await agentTasks.bind(
    { source: 'restart', entries, atOnceMax: Number(atOnceMax), drainTtlMs: 60_000 },
    context,
  );
  const { rows } = await pool.query(`select count(*)::int as live from ${schema}.leases where agent_id is not null`);
  most = Math.max(most, rows[0]?.live as number);
  for (const result of results) {
    if (result.result !== 'bound') continue;
    bound += 1;
    await store.attempts.record([endOf(result.attempt)], context);
  }
  if (mode === 'dies' && bound > 0) {
    process.send?.({ bound, most });
    await new Promise(() => setInterval(() => undefined, 1_000));
  }
  await agentTasks.settle('restart', retry, context);
}
process.send?.({ bound, most });
await store.close();
await pool.end();
process.disconnect();
