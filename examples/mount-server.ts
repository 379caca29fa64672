import type { HandlerContext } from '@connectrpc/connect';
import { agentActsForItself, createLeaseServer } from '@drover/lease-server';
import { createPostgresStore, migrate } from '@drover/lease-store-postgres';
import { registerLeaseService } from '@drover/lease-transport';
import { createRpcHost, principalFrom } from '@drover/rpc-host';
import { createQueueTaskSource } from '@drover/task-sources';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'] });
await migrate(pool);
const store = createPostgresStore({ pool });
const sources = [createQueueTaskSource({ name: 'greeting' }, store)];
const server = createLeaseServer({}, { store, sources, authorizeAgent: agentActsForItself });
const lease = { endpoint: server.endpoint, principalOf: ({ values }: HandlerContext) => principalFrom(values) };
const host = createRpcHost(
  { host: '127.0.0.1', port: Number(process.env['PORT'] ?? 7613) },
  {
    principalOf: ({ header }) => ({ kind: 'agent', id: header.get('drover-agent-id') ?? '' }),
    routes: (router) => void registerLeaseService(router, lease),
  },
);
await server.start();
await host.start();
