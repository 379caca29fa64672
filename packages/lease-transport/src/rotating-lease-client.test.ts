import { create } from '@bufbuild/protobuf';
import { DroverError, type LeaseEndpoint } from '@drover/lease-kit';
import {
  AppendLogRequestSchema,
  AppendLogResponseSchema,
  FetchSecretsResponseSchema,
  ExchangeLeasesRequestSchema,
  ExchangeLeasesResponseSchema,
  OpenSessionRequestSchema,
  OpenSessionResponseSchema,
} from '@drover/lease-protocol';
import { describe, expect, test } from 'vitest';
import { createLeaseClient } from './lease-client.ts';
import { createRotatingLeaseClient } from './rotating-lease-client.ts';
import { startLoopbackServer } from './testing/index.ts';

const forever = new AbortController().signal;

/** A server that knows one session, its own. */
function endpointOf(name: string): LeaseEndpoint {
  const known = (sessionId: string | undefined): void => {
    if (sessionId === name) return;
    throw new DroverError({ code: 'SESSION_UNKNOWN', advice: 'not-found', message: 'not mine' });
  };
  const answer = create(ExchangeLeasesResponseSchema, { copy: { sessionId: name } });
  return {
    openSession: () => Promise.resolve(create(OpenSessionResponseSchema, { sessionId: name })),
    async *exchange(requests) {
      for await (const request of requests) {
        known(request.copy?.sessionId);
        yield answer;
      }
    },
    poll: () => Promise.resolve(answer),
    appendLog: () => Promise.resolve(create(AppendLogResponseSchema, { committedBytes: 7n })),
    fetchSecrets: () => Promise.resolve(create(FetchSecretsResponseSchema, { secrets: { [name]: Uint8Array.of(1) } })),
  };
}

const clientOf = ({ port }: { readonly port: number }) => createLeaseClient({ baseUrl: `http://127.0.0.1:${port}` });
const say = (sessionId: string) => create(ExchangeLeasesRequestSchema, { copy: { sessionId } });

describe('a client of several servers', () => {
  test('asks the next one for a session when one is away, and stays there', async () => {
    const gone = await startLoopbackServer(endpointOf('gone'));
    await gone[Symbol.asyncDispose]();
    await using there = await startLoopbackServer(endpointOf('there'));
    await using first = clientOf(gone);
    await using second = clientOf(there);
    const client = createRotatingLeaseClient([first, second]);
    const session = await client.openSession(create(OpenSessionRequestSchema, {}), forever);
    expect(session.sessionId).toBe('there');
    expect(client.current).toBe(1);
    expect(await client.appendLog(create(AppendLogRequestSchema, {}), forever)).toMatchObject({ committedBytes: 7n });
  });

  test('fails once for all when none is there', async () => {
    const gone = await startLoopbackServer(endpointOf('gone'));
    await gone[Symbol.asyncDispose]();
    await using first = clientOf(gone);
    await using second = clientOf(gone);
    const client = createRotatingLeaseClient([first, second]);
    const opening = client.openSession(create(OpenSessionRequestSchema, {}), forever);
    await expect(opening).rejects.toMatchObject({ advice: 'unavailable' });
    expect(client.current).toBe(0);
  });

  test('opens a broken link with the same server, and with the next one when that is gone', async () => {
    const dying = await startLoopbackServer(endpointOf('dying'));
    await using there = await startLoopbackServer(endpointOf('there'));
    await using first = clientOf(dying);
    await using second = clientOf(there);
    const client = createRotatingLeaseClient([first, second]);

    const link = client.link(forever);
    const messages = link.messages[Symbol.asyncIterator]();
    link.send(say('dying'));
    expect(await messages.next()).toMatchObject({ done: false });
    await dying[Symbol.asyncDispose]();
    await expect(messages.next()).rejects.toThrow();
    expect(client.current).toBe(0);

    const again = client.link(forever);
    again.send(say('dying'));
    await expect(again.messages[Symbol.asyncIterator]().next()).rejects.toMatchObject({ advice: 'unavailable' });
    expect(client.current).toBe(1);

    const next = client.link(forever);
    next.send(say('dying'));
    await expect(next.messages[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'SESSION_UNKNOWN' });
    expect(client.current).toBe(1);
  });

  test('takes 1 to 16 of them', () => {
    expect(() => createRotatingLeaseClient([])).toThrow('servers: 0 are given; allowed are 1 to 16');
  });
});
