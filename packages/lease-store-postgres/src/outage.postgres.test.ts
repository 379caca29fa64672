import { createServer, connect, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { Pool } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StoreSignal } from '@drover/lease-store';
import { sampleContext as context, sampleEntry } from '@drover/lease-store/testing';
import { freshSchema, testPostgresUrl, type FreshSchema } from './fresh-schema.test.fixture.ts';
import { createPostgresStore } from './postgres-store.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterAll(() => fresh[Symbol.asyncDispose]());

/** A way to the database that can be cut, silenced and opened again. */
async function cuttableWay() {
  const target = new URL(testPostgresUrl());
  const sockets = new Set<Socket>();
  let isSilent = false;
  const server: Server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    sockets.add(near).add(far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (data) => (isSilent ? undefined : to.write(data)));
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const url = new URL(target);
  url.port = String(port);
  const cut = async () => {
    const closed = server.listening ? once(server, 'close') : undefined;
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    url: url.href,
    cut,
    open: async () => {
      isSilent = false;
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
    silence: () => (isSilent = true),
    [Symbol.asyncDispose]: cut,
  };
}

test('while the database is away calls fail as unavailable; when it is back they work, and listeners are told', async () => {
  await using way = await cuttableWay();
  const pool = new Pool({ connectionString: way.url, max: 5 });
  const store = createPostgresStore({ pool }, { schema: fresh.schema, callTimeoutMs: 2_000 });
  const heard: StoreSignal[] = [];
  const { promise: resynced, resolve } = Promise.withResolvers<undefined>();
  store.signals.listen((signal) => {
    heard.push(signal);
    if (signal.kind === 'resync') resolve(undefined);
  });
  await store.queue.enqueue([sampleEntry()], context);
  // The listening connection is up once another server's signal arrives.
  const other = fresh.store();
  while (heard.length === 0) {
    other.signals.announce({ kind: 'work', source: 'job' });
    await store.check();
  }

  await way.cut();
  const unavailable = { code: 'STORE_UNAVAILABLE', advice: 'unavailable' };
  for (let round = 0; round < 3; round += 1) {
    await expect(store.queue.enqueue([sampleEntry()], context)).rejects.toMatchObject(unavailable);
    await expect(store.check()).rejects.toMatchObject(unavailable);
  }
  store.signals.announce({ kind: 'work', source: 'lost' });

  await way.open();
  await store.check();
  await store.queue.enqueue([sampleEntry()], context);
  await resynced;
  await store.close();
  await pool.end();
});

test('a database that stops answering hangs no call, and none of its connections is used again', async () => {
  await using way = await cuttableWay();
  const pool = new Pool({ connectionString: way.url, max: 2 });
  const store = createPostgresStore({ pool }, { schema: fresh.schema, callTimeoutMs: 300 });
  await store.check();
  way.silence();
  const calls = Array.from({ length: 6 }, () => store.queue.enqueue([sampleEntry()], context));
  const results = await Promise.allSettled(calls);
  expect(results.map((result) => (result.status === 'rejected' ? result.reason.code : 'stored'))).toEqual(
    results.map(() => 'STORE_UNAVAILABLE'),
  );
  await way.cut();
  await way.open();
  await store.check();
  await store.close();
  await pool.end();
});

test('a call ends at once when its caller aborts it', async () => {
  const store = fresh.store({ callTimeoutMs: 60_000 });
  await store.check();
  const blocker = await fresh.pool.connect();
  await blocker.query(`begin; lock table ${fresh.schema}.leases in access exclusive mode`);
  const abort = new AbortController();
  const call = store.queue.enqueue([sampleEntry()], { ...context, signal: abort.signal });
  abort.abort(new Error('enough'));
  await expect(call).rejects.toMatchObject({ code: 'CALL_CANCELLED', advice: 'cancelled' });
  await blocker.query('rollback');
  blocker.release();
  await store.queue.waitingClasses('job', context);
});

test('a statement that waits too long is ended by the server', async () => {
  const store = fresh.store({ callTimeoutMs: 500 });
  await store.check();
  const blocker = await fresh.pool.connect();
  await blocker.query(`begin; lock table ${fresh.schema}.leases in access exclusive mode`);
  await expect(store.queue.enqueue([sampleEntry()], context)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  await blocker.query('rollback');
  blocker.release();
  await store.queue.enqueue([sampleEntry()], context);
});
