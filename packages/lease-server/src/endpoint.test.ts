import { create } from '@bufbuild/protobuf';
import {
  AgentCopySchema,
  AgentLeaseListSchema,
  AgentLeaseSchema,
  AgentState,
  AppendLogRequestSchema,
  ExchangeLeasesRequestSchema,
  OpenSessionRequestSchema,
  Outcome,
  ServerState,
} from '@drover/lease-protocol';
import { createMemoryContentStore } from '@drover/content-store';
import { withReferencedPayload } from '@drover/task-sources';
import { describe, expect, test } from 'vitest';
import { draft, ServerBench, tester, work } from './testing/index.ts';

const storeContext = { principal: tester };
const as = (id: string, kind: 'agent' | 'user' = 'agent') => ({
  principal: { kind, id },
  signal: new AbortController().signal,
});
const open = (agentId: string, leasesMax = 4) =>
  create(OpenSessionRequestSchema, {
    agentId,
    instanceNonce: 'n',
    agent: { leasesMax, payloadTypes: ['x.Work'] },
  });

/** A copy as an agent that holds `leases` would send it. */
function exchange(
  session: { readonly sessionId: string; readonly epoch: bigint },
  revision: number,
  acknowledged: number,
  leases: readonly { readonly leaseId: string; readonly attempt: number; readonly outcome?: Outcome }[] = [],
) {
  return create(ExchangeLeasesRequestSchema, {
    copy: create(AgentCopySchema, {
      sessionId: session.sessionId,
      epoch: session.epoch,
      revision: BigInt(revision),
      acknowledgedRevision: BigInt(acknowledged),
      list: {
        case: 'leases',
        value: create(AgentLeaseListSchema, {
          leases: leases.map(({ leaseId, attempt, outcome }) =>
            create(AgentLeaseSchema, {
              leaseId,
              attempt,
              state: outcome === undefined ? AgentState.ACCEPTED : AgentState.FINISHED,
              ...(outcome === undefined ? {} : { outcome }),
            }),
          ),
        }),
      },
    }),
  });
}

describe('the endpoint', () => {
  test('takes an agent’s word for that agent alone', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server();
    await expect(endpoint.openSession(open('a'), as('b'))).rejects.toMatchObject({ code: 'AGENT_NOT_AUTHORIZED' });
    await expect(endpoint.openSession(open('a'), as('a', 'user'))).rejects.toMatchObject({ advice: 'denied' });
    const session = await endpoint.openSession(open('a'), as('a'));
    const stranger = endpoint.poll(exchange(session, 1, 0), 0, as('b'));
    await expect(stranger).rejects.toMatchObject({ code: 'AGENT_NOT_AUTHORIZED' });
  });

  test('a stream that ends while its first message is read leaves no link behind', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const session = await server.endpoint.openSession(open('a'), as('a'));
    const first = Promise.withResolvers<IteratorResult<ReturnType<typeof exchange>>>();
    const aborting = new AbortController();
    const messages = [first.promise];
    const requests = {
      [Symbol.asyncIterator]: () => ({ next: () => messages.shift() ?? new Promise<never>(() => undefined) }),
    };
    const answers = server.endpoint.exchange(requests, { ...as('a'), signal: aborting.signal });
    const answer = answers[Symbol.asyncIterator]().next();
    aborting.abort();
    first.resolve({ done: false, value: exchange(session, 1, 0) });
    await answer;
    await bench.quiet();
    expect(server.status().linked).toBe(0);
  });

  test('says what is wrong with a session that cannot be opened', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server({ limits: { sessionsMax: 1 } });
    await expect(endpoint.openSession(open('a', 0), as('a'))).rejects.toMatchObject({
      code: 'OPEN_SESSION_INVALID',
      message: expect.stringContaining('agent.leases_max: 0; allowed: 1 to 4096') as string,
    });
    await endpoint.openSession(open('a'), as('a'));
    await endpoint.openSession(open('a'), as('a'));
    await expect(endpoint.openSession(open('b'), as('b'))).rejects.toMatchObject({ code: 'SESSIONS_FULL' });
  });

  test('answers unknown sessions, old ones and those of another epoch', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server();
    const unknown = endpoint.poll(exchange({ sessionId: 'x', epoch: 1n }, 1, 0), 0, as('a'));
    await expect(unknown).rejects.toMatchObject({ code: 'SESSION_UNKNOWN' });
    const session = await endpoint.openSession(open('a'), as('a'));
    const { sessionId, epoch } = session;
    const wrong = endpoint.poll(exchange({ sessionId, epoch: epoch + 1n }, 1, 0), 0, as('a'));
    await expect(wrong).rejects.toMatchObject({ code: 'SESSION_UNKNOWN' });
    await endpoint.openSession({ ...open('a'), instanceNonce: 'other' }, as('a'));
    const old = endpoint.poll(exchange(session, 1, 0), 0, as('a'));
    await expect(old).rejects.toMatchObject({ code: 'SESSION_FENCED', advice: 'fenced' });
  });

  test('refuses a message that is no copy', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server();
    const session = await endpoint.openSession(open('a'), as('a'));
    const none = endpoint.poll(create(ExchangeLeasesRequestSchema, {}), 0, as('a'));
    await expect(none).rejects.toMatchObject({ code: 'COPY_INVALID' });
    const { sessionId, epoch } = session;
    const empty = create(ExchangeLeasesRequestSchema, { copy: { sessionId, epoch, revision: 1n } });
    await expect(endpoint.poll(empty, 0, as('a'))).rejects.toMatchObject({ code: 'COPY_INVALID' });
  });

  test('tells an agent that breaks the protocol, and ends its session in the store', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server();
    const session = await endpoint.openSession(open('a'), as('a'));
    await endpoint.poll(exchange(session, 1, 0), 0, as('a'));
    const ahead = endpoint.poll(exchange(session, 2, 99), 0, as('a'));
    await expect(ahead).rejects.toMatchObject({ code: 'SESSION_PROTOCOL_VIOLATION' });
    await bench.until(
      async () => (await bench.store.sessions.agents({ limit: 1 }, storeContext))[0]?.session === undefined,
    );
  });

  test('lets an agent poll: waits for news, repeats what was not acknowledged, and carries the whole life of a lease', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const { endpoint } = server;
    const session = await endpoint.openSession(open('a'), as('a'));
    const first = await endpoint.poll(exchange(session, 1, 0), 60_000, as('a'));
    expect(Number(first.copy!.revision)).toBe(1);
    const waiting = endpoint.poll(exchange(session, 1, 1), 60_000, as('a'));
    await bench.until(() => server.status().hungry === 1);
    const lease = draft();
    await bench.enqueue(lease);
    const offer = await waiting;
    const { leases } = offer.copy!.list.value as { leases: { leaseId: string; state: ServerState }[] };
    expect(leases).toMatchObject([{ leaseId: lease.leaseId, state: ServerState.OFFERED }]);
    // The answer is lost: the same poll again.
    const again = endpoint.poll(exchange(session, 1, 1), 60_000, as('a'));
    await bench.quiet();
    bench.clock.advance(250);
    expect((await again).copy!.revision).toBe(offer.copy!.revision);
    const key = { leaseId: lease.leaseId, attempt: 1 };
    const end = exchange(session, 2, Number(offer.copy!.revision), [{ ...key, outcome: Outcome.COMPLETED }]);
    const acknowledged = await endpoint.poll(end, 60_000, as('a'));
    expect(Number(acknowledged.copy!.acknowledgedRevision)).toBe(2);
    expect((await bench.store.jobs.lease(lease.leaseId, storeContext)).state).toBe('ended');
  });

  test('answers a poll with the newest copy when its wait is over', async () => {
    await using bench = new ServerBench();
    const { endpoint } = await bench.server();
    const session = await endpoint.openSession(open('a'), as('a'));
    await endpoint.poll(exchange(session, 1, 0), 0, as('a'));
    const poll = endpoint.poll(exchange(session, 1, 1), 5_000, as('a'));
    await bench.quiet();
    bench.clock.advance(5_000);
    expect(Number((await poll).copy!.revision)).toBe(1);
  });

  test('keeps logs of bound attempts by offset, and says when an attempt is over', async () => {
    await using bench = new ServerBench();
    const server = await bench.server();
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1 && server.status().pendingWrites === 0);
    const heard: string[] = [];
    bench.store.signals.listen((signal) => signal.kind === 'log' && heard.push(signal.leaseId));
    const append = (offset: bigint, text: string) =>
      server.endpoint.appendLog(
        create(AppendLogRequestSchema, {
          sessionId: agent.sessionId,
          epoch: BigInt(agent.epoch),
          attempt: agent.running[0]!,
          log: 'out',
          offset,
          data: Buffer.from(text),
        }),
        agent.context,
      );
    expect((await append(0n, 'hello ')).committedBytes).toBe(6n);
    expect((await append(3n, 'lo world')).committedBytes).toBe(11n);
    await bench.until(() => heard.length > 0);
    agent.finish(agent.running[0]!, { outcome: Outcome.COMPLETED });
    await bench.until(() => agent.journal.size === 0);
    await expect(append(11n, 'late')).rejects.toMatchObject({ code: 'ATTEMPT_NOT_BOUND', advice: 'conflict' });
    await server.stop();
    await expect(append(11n, 'later')).rejects.toMatchObject({ advice: 'unavailable' });
  });
});

describe('large content', () => {
  test('travels by digest in both directions, pinned while the lease lives', async () => {
    await using blobs = createMemoryContentStore();
    await using bench = new ServerBench();
    const server = await bench.server({}, { blobs, judge: (output) => output.value.byteLength === 100_000 });
    const agent = await bench.agent(server);
    const payload = work(new Uint8Array(200_000).fill(3));
    const { draft: lease, digest } = await withReferencedPayload(draft({ payload }), blobs);
    await blobs.pin([digest!], { owner: `lease:${lease.leaseId}` });
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    expect(agent.seen.get(`1:${lease.leaseId}`)?.work).toMatchObject({
      case: 'payloadDigest',
      value: { hash: digest!.hash, sizeBytes: BigInt(digest!.sizeBytes) },
    });
    const output = work(new Uint8Array(100_000).fill(4));
    agent.finish(agent.running[0]!, { outcome: Outcome.COMPLETED, result: { case: 'output', value: output } });
    await bench.until(() => agent.journal.size === 0);
    const record = await bench.store.jobs.lease(lease.leaseId, storeContext);
    expect(record).toMatchObject({ state: 'ended', succeeded: true });
    expect(record.output!.value.byteLength).toBeLessThan(100);
  });

  test('an output that is not in the content store is no success', async () => {
    await using blobs = createMemoryContentStore();
    await using bench = new ServerBench();
    const server = await bench.server({}, { blobs });
    const agent = await bench.agent(server);
    const lease = draft();
    await bench.enqueue(lease);
    await bench.until(() => agent.running.length === 1);
    agent.finish(agent.running[0]!, {
      outcome: Outcome.COMPLETED,
      result: { case: 'outputDigest', value: { hash: 'a'.repeat(64), sizeBytes: 12n } as never },
    });
    await bench.until(async () => (await bench.store.jobs.lease(lease.leaseId, storeContext)).state === 'ended');
    const record = await bench.store.jobs.lease(lease.leaseId, storeContext);
    expect(record.succeeded).toBe(false);
    expect(record.attempts[0]?.end?.reason?.code).toBe('OUTPUT_UNREADABLE');
  });

  test('work that does not fit into one message goes out piece by piece', async () => {
    await using bench = new ServerBench();
    const server = await bench.server({ limits: { messageSizeMaxBytes: 200_000 } });
    const agent = await bench.agent(server);
    await bench.enqueue(...Array.from({ length: 10 }, () => draft({ payload: work(new Uint8Array(60_000)) })));
    await bench.until(() => agent.running.length === 10);
    expect(agent.copiesReceived).toBeGreaterThan(4);
  });
});
