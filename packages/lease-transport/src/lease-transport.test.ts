import { create } from '@bufbuild/protobuf';
import { DroverError, isDroverError, type LeaseEndpoint, type LeaseLink } from '@drover/lease-kit';
import {
  AgentCopySchema,
  AgentDescriptionSchema,
  AppendLogRequestSchema,
  AppendLogResponseSchema,
  FetchSecretsRequestSchema,
  FetchSecretsResponseSchema,
  ExchangeLeasesRequestSchema,
  ExchangeLeasesResponseSchema,
  OpenSessionRequestSchema,
  OpenSessionResponseSchema,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
} from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import { createLeaseClient, type LeaseClientOptions } from './lease-client.ts';
import { startBufferingProxy, startLoopbackServer, startTcpProxy } from './testing/index.ts';

const forever = new AbortController().signal;

/** Answers every copy with its revision, by stream or poll, and remembers which way each came. */
function echo(overrides: Partial<LeaseEndpoint> = {}): LeaseEndpoint & { readonly ways: ('stream' | 'poll')[] } {
  const ways: ('stream' | 'poll')[] = [];
  const answerTo = (request: ExchangeLeasesRequest) =>
    create(ExchangeLeasesResponseSchema, {
      copy: { sessionId: 's', acknowledgedRevision: request.copy?.revision ?? 0n },
    });
  return {
    ways,
    openSession: () => Promise.resolve(create(OpenSessionResponseSchema, { sessionId: 's', epoch: 7n })),
    async *exchange(requests) {
      for await (const request of requests) {
        ways.push('stream');
        yield answerTo(request);
      }
    },
    poll(request) {
      ways.push('poll');
      return Promise.resolve(answerTo(request));
    },
    appendLog: (request) =>
      Promise.resolve(
        create(AppendLogResponseSchema, { committedBytes: request.offset + BigInt(request.data.length) }),
      ),
    fetchSecrets: (request) =>
      Promise.resolve(
        create(FetchSecretsResponseSchema, { secrets: { [request.attempt?.leaseId ?? '']: Uint8Array.of(1, 2) } }),
      ),
    ...overrides,
  };
}

const say = (revision: bigint, progress: [string, number][] = []): ExchangeLeasesRequest =>
  create(ExchangeLeasesRequestSchema, {
    copy: create(AgentCopySchema, { sessionId: 's', revision }),
    progress: progress.map(([leaseId, percent]) => ({ leaseId, attempt: 1, percent })),
  });

const clientOf = (port: number, options: Partial<LeaseClientOptions> = {}) =>
  createLeaseClient({ baseUrl: `http://127.0.0.1:${port}`, ...options });

async function answerOf(link: LeaseLink, wanted: bigint): Promise<ExchangeLeasesResponse> {
  const iterator = link.messages[Symbol.asyncIterator]();
  for (;;) {
    const { value, done } = await iterator.next();
    if (done) throw new Error(`the link ended before ${wanted} was acknowledged`);
    if ((value as ExchangeLeasesResponse).copy?.acknowledgedRevision === wanted) return value;
  }
}

const errorOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe('a link by stream', () => {
  test('carries copies both ways over one connection', async () => {
    const endpoint = echo();
    await using server = await startLoopbackServer(endpoint);
    await using client = clientOf(server.port);
    await client.openSession(create(OpenSessionRequestSchema, { agentId: 'a' }), forever);
    await using link = client.link(forever);
    link.send(say(1n));
    await answerOf(link, 1n);
    await client.appendLog(create(AppendLogRequestSchema, { data: new Uint8Array(10) }), forever);
    const asked = create(FetchSecretsRequestSchema, { attempt: { leaseId: 'l' } });
    expect((await client.fetchSecrets(asked, forever)).secrets).toEqual({ l: Uint8Array.of(1, 2) });
    expect(server.connections).toBe(1);
    expect(endpoint.ways).toEqual(['stream']);
  });

  test('keeps one unsent message, with the newest progress of each attempt', async () => {
    const received: ExchangeLeasesRequest[] = [];
    await using server = await startLoopbackServer(
      echo({
        async *exchange(requests) {
          for await (const request of requests) {
            received.push(request);
            yield create(ExchangeLeasesResponseSchema, { copy: { acknowledgedRevision: request.copy!.revision } });
          }
        },
      }),
    );
    await using client = clientOf(server.port);
    await using link = client.link(forever);
    // Nothing is taken before the connection stands: all of these wait in one place.
    link.send(say(1n, [['x', 10]]));
    link.send(say(2n, [['y', 5]]));
    link.send(say(3n, [['x', 20]]));
    await answerOf(link, 3n);
    expect(received).toHaveLength(1);
    expect(received[0]!.progress.map(({ leaseId, percent }) => [leaseId, percent])).toEqual([
      ['x', 20],
      ['y', 5],
    ]);
  });

  test('breaks with an error that may pass, and the next one goes on', async () => {
    await using server = await startLoopbackServer(echo());
    await using proxy = await startTcpProxy(server.port);
    await using client = clientOf(proxy.port);
    const link = client.link(forever);
    link.send(say(1n));
    const iterator = link.messages[Symbol.asyncIterator]();
    await iterator.next();
    const broken = errorOf(iterator.next());
    proxy.cut();
    expect(await broken).toMatchObject({ name: 'DroverError', advice: expect.stringMatching(/unavailable|cancelled/) });
    await using again = client.link(forever);
    again.send(say(2n));
    await answerOf(again, 2n);
    expect(proxy.accepted).toBe(2);
    expect(client.linkMode).toBe('stream');
  });

  test('survives a slow way', async () => {
    await using server = await startLoopbackServer(echo());
    await using proxy = await startTcpProxy(server.port);
    proxy.delayMs = 60;
    await using client = clientOf(proxy.port);
    await using link = client.link(forever);
    link.send(say(1n));
    await answerOf(link, 1n);
    expect(client.linkMode).toBe('stream');
  });

  test('notices by PING that a way is dead', async () => {
    await using server = await startLoopbackServer(echo());
    await using proxy = await startTcpProxy(server.port);
    await using client = clientOf(proxy.port, { pingIntervalMs: 50, pingTimeoutMs: 50 });
    const link = client.link(forever);
    link.send(say(1n));
    const iterator = link.messages[Symbol.asyncIterator]();
    await iterator.next();
    proxy.silent = true;
    expect(isDroverError(await errorOf(iterator.next()))).toBe(true);
  });

  test('ends without an error when it is closed or its signal is aborted', async () => {
    await using server = await startLoopbackServer(echo());
    await using client = clientOf(server.port);
    for (const end of ['close', 'abort'] as const) {
      const abort = new AbortController();
      const link = client.link(abort.signal);
      link.send(say(1n));
      const iterator = link.messages[Symbol.asyncIterator]();
      await iterator.next();
      const last = iterator.next();
      if (end === 'close') await link.close();
      else abort.abort();
      expect((await last).done).toBe(true);
    }
  });

  test('ends on the server when the agent hangs up', async () => {
    const { promise: hungUp, resolve } = Promise.withResolvers<void>();
    await using server = await startLoopbackServer(
      echo({
        async *exchange(requests, { signal }) {
          signal.addEventListener('abort', () => resolve());
          for await (const request of requests)
            yield create(ExchangeLeasesResponseSchema, { copy: { acknowledgedRevision: request.copy!.revision } });
        },
      }),
    );
    await using client = clientOf(server.port);
    const link = client.link(forever);
    link.send(say(1n));
    await link.messages[Symbol.asyncIterator]().next();
    await link.close();
    void link.messages[Symbol.asyncIterator]().next();
    await hungUp;
  });

  test('says what the server said', async () => {
    await using server = await startLoopbackServer(
      echo({
        exchange: () => {
          throw new DroverError({ code: 'SESSION_FENCED', advice: 'fenced', message: 'a newer session exists' });
        },
      }),
    );
    await using client = clientOf(server.port);
    const link = client.link(forever);
    link.send(say(1n));
    expect(await errorOf(link.messages[Symbol.asyncIterator]().next())).toMatchObject({
      code: 'SESSION_FENCED',
      advice: 'fenced',
    });
    expect(client.linkMode).toBe('stream');
  });
});

describe('a link by polls', () => {
  test('takes over behind a proxy that buffers, and tries a stream again', async () => {
    const endpoint = echo();
    await using server = await startLoopbackServer(endpoint);
    await using proxy = await startBufferingProxy(server.port);
    await using client = clientOf(proxy.port, { pollFallback: { firstAnswerMs: 80, pollingMs: 200, waitMs: 1_000 } });
    const blocked = client.link(forever);
    blocked.send(say(1n));
    expect(await errorOf(answerOf(blocked, 1n))).toMatchObject({ code: 'LINK_NOT_ANSWERED', advice: 'unavailable' });
    expect(client.linkMode).toBe('polling');
    await using link = client.link(forever);
    link.send(say(2n));
    await answerOf(link, 2n);
    link.send(say(3n));
    await answerOf(link, 3n);
    // The proxy may pass the given-up stream's message on, when its end arrives: old news, which a server ignores.
    expect(endpoint.ways.filter((way) => way === 'poll').length).toBeGreaterThanOrEqual(2);
    for await (const _ of link.messages);
    expect(client.linkMode).toBe('stream');
  });

  test('takes over after streams broke quickly three times', async () => {
    const endpoint = echo();
    await using server = await startLoopbackServer(endpoint);
    await using proxy = await startTcpProxy(server.port);
    await using client = clientOf(proxy.port);
    for (let round = 1; round <= 3; round++) {
      const link = client.link(forever);
      link.send(say(1n));
      const iterator = link.messages[Symbol.asyncIterator]();
      await iterator.next();
      proxy.cut();
      await errorOf(iterator.next());
    }
    expect(client.linkMode).toBe('polling');
    await using link = client.link(forever);
    link.send(say(9n));
    await answerOf(link, 9n);
    expect(endpoint.ways.at(-1)).toBe('poll');
  });

  test('does not blame streams for a server that is down', async () => {
    const server = await startLoopbackServer(echo());
    const { port } = server;
    await server[Symbol.asyncDispose]();
    await using client = clientOf(port);
    for (let round = 1; round <= 4; round++) {
      const link = client.link(forever);
      link.send(say(1n));
      expect(await errorOf(answerOf(link, 1n))).toMatchObject({ advice: 'unavailable' });
    }
    expect(client.linkMode).toBe('stream');
  });

  test('says a description until an answer proves that it arrived, and then no more', async () => {
    const heard: (readonly [revision: bigint, name: string | undefined])[] = [];
    const gate = Promise.withResolvers<void>();
    const endpoint = echo({
      async *exchange(requests) {
        for await (const _ of requests);
      },
      async poll(request) {
        heard.push([request.copy!.revision, request.description?.name]);
        if (heard.length === 1) await gate.promise;
        return create(ExchangeLeasesResponseSchema, {
          copy: { sessionId: 's', acknowledgedRevision: request.copy!.revision },
        });
      },
    });
    await using server = await startLoopbackServer(endpoint);
    await using client = clientOf(server.port, {
      httpVersion: '2',
      pollFallback: { firstAnswerMs: 1, waitMs: 60_000 },
    });
    const stream = client.link(forever);
    stream.send(say(0n));
    await errorOf(answerOf(stream, 99n));
    await using link = client.link(forever);
    link.send({ ...say(1n), description: create(AgentDescriptionSchema, { name: 'box' }) });
    const answered = answerOf(link, 2n);
    await expect.poll(() => heard.length).toBe(1);
    // The first poll is given up for this, and nobody knows whether it arrived.
    link.send(say(2n));
    await answered;
    link.send(say(3n));
    await answerOf(link, 3n);
    gate.resolve();
    expect(heard.slice(0, 3)).toEqual([
      [1n, 'box'],
      [2n, 'box'],
      [3n, undefined],
    ]);
  });

  test('gives a hanging poll up for news of the agent', async () => {
    const seen: bigint[] = [];
    await using server = await startLoopbackServer(
      echo({
        async *exchange(requests) {
          for await (const _ of requests);
        },
        async poll(request, _waitMs, { signal }) {
          seen.push(request.copy!.revision);
          if (request.copy!.revision === 1n)
            await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
          return create(ExchangeLeasesResponseSchema, { copy: { acknowledgedRevision: request.copy!.revision } });
        },
      }),
    );
    await using client = clientOf(server.port, {
      httpVersion: '2',
      pollFallback: { firstAnswerMs: 1, waitMs: 60_000 },
    });
    const stream = client.link(forever);
    stream.send(say(0n));
    await errorOf(answerOf(stream, 99n));
    await using link = client.link(forever);
    link.send(say(1n));
    const second = answerOf(link, 2n);
    await expect.poll(() => seen).toContain(1n);
    link.send(say(2n));
    await second;
    expect(seen.at(-1)).toBe(2n);
  });
});

describe('bounds', () => {
  const huge = () =>
    create(ExchangeLeasesRequestSchema, { copy: { list: { case: 'digest', value: new Uint8Array(20_000) } } });

  test('a message over the limit is not sent', async () => {
    await using server = await startLoopbackServer(echo());
    await using client = clientOf(server.port, { messageSizeMaxBytes: 10_000 });
    const link = client.link(forever);
    link.send(huge());
    expect(await errorOf(answerOf(link, 0n))).toMatchObject({ code: 'MESSAGE_TOO_LARGE', advice: 'fix-input' });
    const unary = client.appendLog(create(AppendLogRequestSchema, { data: new Uint8Array(20_000) }), forever);
    expect(await errorOf(unary)).toMatchObject({ code: 'MESSAGE_TOO_LARGE', details: { maxBytes: 10_000 } });
    // The connection is fine.
    await client.appendLog(create(AppendLogRequestSchema, { data: new Uint8Array(20) }), forever);
  });

  test('a message over the limit is not taken, and the caller hears why', async () => {
    await using server = await startLoopbackServer(echo(), { messageSizeMaxBytes: 10_000 });
    await using client = clientOf(server.port);
    const link = client.link(forever);
    link.send(huge());
    expect(await errorOf(answerOf(link, 0n))).toMatchObject({ code: 'MESSAGE_TOO_LARGE', advice: 'fix-input' });
    const unary = client.appendLog(create(AppendLogRequestSchema, { data: new Uint8Array(200_000) }), forever);
    expect(await errorOf(unary)).toMatchObject({ code: 'MESSAGE_TOO_LARGE', details: { maxBytes: 10_000 } });
  });

  test('a call that the server does not answer has a deadline', async () => {
    await using server = await startLoopbackServer(echo({ openSession: () => new Promise(() => undefined) }));
    await using client = clientOf(server.port, { callTimeoutMs: 100 });
    const call = client.openSession(create(OpenSessionRequestSchema, {}), forever);
    expect(await errorOf(call)).toMatchObject({ code: 'RPC_DEADLINE_EXCEEDED', advice: 'unavailable' });
  });

  test('more bytes of a log than a call may carry', async () => {
    await using server = await startLoopbackServer(echo());
    await using client = clientOf(server.port);
    const call = client.appendLog(create(AppendLogRequestSchema, { data: new Uint8Array(262_145) }), forever);
    expect(await errorOf(call)).toMatchObject({ code: 'LOG_DATA_TOO_LARGE', advice: 'fix-input' });
  });

  test('a URL that is none', () => {
    expect(() => createLeaseClient({ baseUrl: 'fleet.example:7070' })).toThrow(/baseUrl must be http/);
  });
});
