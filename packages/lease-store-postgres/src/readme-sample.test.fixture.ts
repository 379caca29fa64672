import { Pool } from 'pg';
import { createPostgresStore, migrate } from './index.ts';

const pool = new Pool({ connectionString: process.env['DATABASE_URL'], max: 10, connectionTimeoutMillis: 5_000 });
await migrate(pool);
const store = createPostgresStore({ pool });

const context = { principal: { kind: 'service', id: 'example' } } as const;
await store.sessions.beat('server-1', context);
console.log(await store.queue.waitingClasses('job', context));

await store.close();
await pool.end();
