import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { Code, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
import { DroverError, silentLogger } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { ByteStream, Health, HealthCheckResponse_ServingStatus as ServingStatus } from '@drover/standard-protocols';
import { afterEach, describe, expect, test } from 'vitest';
import { createRpcHost, type RpcHost, type RpcHostDeps } from './rpc-host.ts';
import type { RpcHostLimits } from './rpc-host-limits.ts';

const hosts: RpcHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) {
    await host.stop({ graceMs: 0 });
    expect(host.connectionCount).toBe(0);
  }
});

/** A host whose Read streams one message and then waits until its call is aborted or the host drains. */
async function startHost(limits: Partial<RpcHostLimits> = {}, deps: Partial<RpcHostDeps> = {}) {
  const calls = { aborted: 0 };
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0, limits },
    {
      principalOf: () => ({ kind: 'user', id: 'ada' }),
      routes: (router) =>
        router.service(ByteStream, {
          queryWriteStatus: ({ resourceName }) => ({ committedSize: BigInt(resourceName.length) }),
          async *read({ resourceName }, { signal }) {
            yield { data: new Uint8Array(1) };
            const ends = resourceName === 'polite' ? AbortSignal.any([signal, host.draining]) : signal;
            await new Promise((resolve) => ends.addEventListener('abort', resolve, { once: true }));
            calls.aborted++;
            signal.throwIfAborted();
          },
        }),
      ...deps,
    },
  );
  hosts.push(host);
  await host.start();
  return { host, calls, client: createClient(ByteStream, createGrpcTransport({ baseUrl: host.url })) };
}

/** The first message of a stream, and a promise of how the stream ends. */
async function openRead(client: Awaited<ReturnType<typeof startHost>>['client'], resourceName: string) {
  const messages = client.read({ resourceName })[Symbol.asyncIterator]();
  await messages.next();
  return { end: messages.next().catch(droverErrorFromConnect) };
}

/** Resolves when the other end has closed the socket. */
async function closedByHost(port: number, send = ''): Promise<void> {
  const socket = connectSocket(port, '127.0.0.1');
  socket.on('error', () => undefined);
  if (send !== '') socket.write(send, 'latin1');
  socket.resume();
  await once(socket, 'close');
}

const http2Preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';

describe('stop', () => {
  test('lets calls end that end when the host drains', async () => {
    const { host, client } = await startHost();
    const { end } = await openRead(client, 'polite');
    await host.stop({ graceMs: 60_000 });
    expect(await end).toMatchObject({ done: true });
  });

  test('cuts calls off as UNAVAILABLE when the grace is over', async () => {
    const { host, client, calls } = await startHost();
    const { end } = await openRead(client, 'stubborn');
    await host.stop({ graceMs: 20 });
    expect(await end).toMatchObject({ code: 'RPC_UNAVAILABLE', message: 'The server is stopping.' });
    expect(calls.aborted).toBe(1);
  });

  test('ends sooner when it is asked again, or its signal aborts', async () => {
    for (const hurry of [(host: RpcHost) => host.stop({ graceMs: 0 }), undefined]) {
      const { host, client } = await startHost();
      const { end } = await openRead(client, 'stubborn');
      const abort = new AbortController();
      const stopped = host.stop({ graceMs: 60_000, signal: abort.signal });
      await (hurry?.(host) ?? abort.abort());
      await stopped;
      expect(await end).toMatchObject({ code: 'RPC_UNAVAILABLE' });
    }
  });

  test('tells idle HTTP/2 connections to go away, and refuses new ones', async () => {
    const { host } = await startHost();
    const session = connectHttp2(host.url);
    const goaway = once(session, 'goaway');
    await once(session, 'remoteSettings');
    const { port } = host.address;
    await Promise.all([host.stop({ graceMs: 60_000 }), once(session, 'close')]);
    expect((await goaway)[0]).toBe(constants.NGHTTP2_NO_ERROR);
    const [error] = (await once(connectSocket(port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
  });

  test('ends HTTP/1.1 connections that are kept alive', async () => {
    const { host } = await startHost();
    expect((await fetch(`${host.url}/healthz`)).headers.get('connection')).toBe('keep-alive');
    await host.stop({ graceMs: 60_000 });
  });

  test('before the start, twice, and then start again', async () => {
    const { host } = await startHost();
    await host.start();
    await Promise.all([host.stop(), host.stop()]);
    await expect(host.start()).rejects.toMatchObject({ code: 'HOST_STOPPED' });
    expect(() => host.url).toThrow(expect.objectContaining({ code: 'HOST_NOT_LISTENING' }));
    const never = createRpcHost(
      { host: '127.0.0.1', port: 0 },
      { principalOf: () => undefined, routes: () => undefined },
    );
    await never.stop();
  });
});

describe('start', () => {
  test('says why it can not listen', async () => {
    const { host } = await startHost();
    const deps: RpcHostDeps = { principalOf: () => undefined, routes: () => undefined };
    const other = createRpcHost({ host: '127.0.0.1', port: host.address.port }, deps);
    await expect(other.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE', advice: 'conflict' });
    await other.stop();
    const far = createRpcHost({ host: '192.0.2.1', port: 0 }, deps);
    await expect(far.start()).rejects.toMatchObject({ code: 'ADDRESS_INVALID', advice: 'fix-input' });
    await far.stop();
    const aborted = createRpcHost({ host: '127.0.0.1', port: 0 }, deps);
    await expect(aborted.start({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('health', () => {
  test('Watch follows a service, known or not yet, to the end of the host', async () => {
    const { host } = await startHost();
    const health = createClient(Health, createGrpcTransport({ baseUrl: host.url }));
    const watch = (service: string) => health.watch({ service })[Symbol.asyncIterator]();
    const whole = watch('');
    const late = watch('late.Service');
    const next = async (from: typeof whole) => (await from.next()).value?.status;
    expect([await next(whole), await next(late)]).toEqual([ServingStatus.SERVING, ServingStatus.SERVICE_UNKNOWN]);
    host.setServing('late.Service', true);
    host.setServing('', false);
    expect([await next(whole), await next(late)]).toEqual([ServingStatus.NOT_SERVING, ServingStatus.SERVING]);
    const stopped = host.stop({ graceMs: 60_000 });
    expect(await next(late)).toBe(ServingStatus.NOT_SERVING);
    expect([await whole.next(), await late.next()]).toMatchObject([{ done: true }, { done: true }]);
    await stopped;
  });

  test('readiness is "not ready" if it throws, which the log explains and strangers do not learn', async () => {
    const logged: unknown[] = [];
    const logger = { ...silentLogger, warn: (fields: object) => void logged.push(fields) };
    const { host } = await startHost({}, { isReady: () => Promise.reject(new Error('no route to 10.1.2.3')), logger });
    const answer = await fetch(`${host.url}/readyz`);
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { ready: false, reason: 'The readiness check failed: the log says why.' },
    ]);
    expect(logged).toMatchObject([{ err: { message: 'no route to 10.1.2.3' } }]);
  });
});

describe('principals', () => {
  test('an error of principalOf is the error of the call', async () => {
    const { client } = await startHost(
      {},
      {
        principalOf: () => {
          throw new DroverError({ code: 'TOKEN_EXPIRED', advice: 'denied', message: 'The token has expired.' });
        },
      },
    );
    const error = await client.queryWriteStatus({}).catch(droverErrorFromConnect);
    expect(error).toMatchObject({ code: 'TOKEN_EXPIRED', advice: 'denied' });
  });

  test('are told where a call comes from', async () => {
    const seen: unknown[] = [];
    const { client } = await startHost(
      {},
      {
        principalOf: ({ service, method, peer }) => {
          seen.push({ service, method, peer });
          return undefined;
        },
      },
    );
    await expect(client.queryWriteStatus({})).rejects.toMatchObject({ code: Code.Unauthenticated });
    expect(seen).toEqual([
      {
        service: 'google.bytestream.ByteStream',
        method: 'QueryWriteStatus',
        peer: { remoteAddress: '127.0.0.1', encrypted: false },
      },
    ]);
  });
});

describe('limits', () => {
  test.each([
    ['gRPC', (baseUrl: string) => createGrpcTransport({ baseUrl })],
    ['Connect over HTTP/1.1', (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: '1.1' })],
  ])('a message that is too long is RESOURCE_EXHAUSTED over %s', async (_, transport) => {
    const { host } = await startHost({ messageReceiveSizeBytesMax: 1000 });
    const client = createClient(ByteStream, transport(host.url));
    expect(await client.queryWriteStatus({ resourceName: 'x'.repeat(900) })).toMatchObject({ committedSize: 900n });
    await expect(client.queryWriteStatus({ resourceName: 'x'.repeat(2000) })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
    });
  });

  test('headers that are too long are refused by both versions, and the host lives', async () => {
    const { host, client } = await startHost({ headerSizeBytesMax: 4096 });
    const headers = { 'x-long': 'x'.repeat(8000) };
    // Before the client has seen the host's settings, and after.
    await expect(client.queryWriteStatus({}, { headers })).rejects.toThrow('431');
    await client.queryWriteStatus({});
    await expect(client.queryWriteStatus({}, { headers })).rejects.toThrow('ENHANCE_YOUR_CALM');
    expect((await fetch(`${host.url}/healthz`, { headers })).status).toBe(431);
    expect((await fetch(`${host.url}/healthz`)).status).toBe(200);
  });

  test('connections beyond the limit are closed at once', async () => {
    const { host } = await startHost({ connectionsMax: 1 });
    const session = connectHttp2(host.url);
    await once(session, 'remoteSettings');
    await closedByHost(host.address.port);
    expect(host.connectionCount).toBe(1);
    session.destroy();
  });

  test('clients are told how many streams a connection may have', async () => {
    const { host } = await startHost({ streamsPerConnectionMax: 3 });
    const session = connectHttp2(host.url);
    const [settings] = (await once(session, 'remoteSettings')) as [{ maxConcurrentStreams: number }];
    expect(settings.maxConcurrentStreams).toBe(3);
    session.destroy();
  });

  test('a connection that says nothing, or half a header, is closed', async () => {
    const { host } = await startHost({ firstByteTimeoutMs: 50 });
    await closedByHost(host.address.port);
    await closedByHost(host.address.port, 'PR');
    await closedByHost(host.address.port, 'GET /healthz HTTP/1.1\r\nhost:');
  });

  test('an HTTP/2 connection without a call is closed after the idle timeout', async () => {
    const { host } = await startHost({ idleConnectionTimeoutMs: 50 });
    const session = connectHttp2(host.url);
    await once(session, 'close');
    expect(session.destroyed).toBe(true);
  });

  test('an HTTP/2 connection that answers no pings is destroyed, one that does stays', async () => {
    const { host } = await startHost({ keepaliveIntervalMs: 40, keepaliveTimeoutMs: 40 });
    const session = connectHttp2(host.url);
    let pings = 0;
    session.on('ping', () => pings++);
    // This one never answers anything.
    await closedByHost(host.address.port, http2Preface);
    await once(session, 'ping');
    expect([pings > 1, session.destroyed]).toEqual([true, false]);
    session.destroy();
  });
});

test('whoever watches a service cannot make the host keep more than a name', async () => {
  const { host } = await startHost();
  const health = createClient(Health, createGrpcTransport({ baseUrl: host.url }));
  const watch = async (service: string) => {
    for await (const { status } of health.watch({ service })) return status;
  };
  expect(await watch('no.Such')).toBe(ServingStatus.SERVICE_UNKNOWN);
  await expect(watch('x'.repeat(2_000))).rejects.toMatchObject({ code: Code.ResourceExhausted });
});
