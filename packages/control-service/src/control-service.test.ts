import { randomUUID } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema, StringValueSchema, anyPack, type Any } from '@bufbuild/protobuf/wkt';
import { createClient, createRouterTransport } from '@connectrpc/connect';
import { FleetService, JobService, JobState, LeaseState, type JobStatus } from '@drover/control-api';
import { createMemoryContentStore, digestOfBytes } from '@drover/content-store';
import { DroverError, type AssignedAttempt, type JobPlanner, type LeaseDraft, type Principal } from '@drover/lease-kit';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import { createMemoryStore, type AttemptOutcome, type SessionRef } from '@drover/lease-store';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { payloadReference, referencedDigest } from '@drover/task-sources';
import { describe, expect, test } from 'vitest';
import type { ControlServiceDeps, ControlServiceOptions } from './control-service-options.ts';
import { registerControlService } from './control-service.ts';

const tester: Principal = { kind: 'user', id: 'tester' };
const context = { principal: tester };

/** Plans a text of words: a lease a word. */
const wordPlanner: JobPlanner = {
  payloadType: StringValueSchema.typeName,
  outputType: 'x.Output',
  source: 'words',
  plan(payload: Any) {
    const text = Buffer.from(payload.value).subarray(2).toString();
    if (text === 'bad') {
      throw new DroverError({ code: 'JOB_INVALID', advice: 'fix-input', message: 'words: bad; allowed: others.' });
    }
    return text.split(' ').map((name) => ({
      name,
      payload: create(AnySchema, { typeUrl: 'type.googleapis.com/x.Word', value: Buffer.from(name) }),
      requirements: name === 'huge' ? { resources: { cores: 64 } } : { condition: 'os == linux' },
      runLimitMs: 1_000,
      cancelGraceMs: 1_000,
      retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
    }));
  },
  succeeded: () => true,
};

const words = (text: string): Any => anyPack(StringValueSchema, create(StringValueSchema, { value: text }));

function setUp(deps: Partial<ControlServiceDeps> = {}, options: ControlServiceOptions = {}) {
  const store = createMemoryStore();
  const transport = createRouterTransport((router) => {
    registerControlService(
      router,
      { store, planners: [wordPlanner], principalOf: () => tester, ...deps },
      { pollMs: 50, watchSpacingMs: 0, ...options },
    );
  });
  const jobs = createClient(JobService, transport);
  const fleet = createClient(FleetService, transport);
  const submit = async (text: string, rest: { requestId?: string; priority?: number; name?: string } = {}) =>
    (await jobs.submitJobs({ jobs: [{ payload: words(text), ...rest }] })).jobIds[0]!;
  return { store, jobs, fleet, submit };
}
type SetUp = ReturnType<typeof setUp>;

async function agent(
  { store }: SetUp,
  agentId: string,
  os = 'linux',
  rest: Record<string, unknown> = {},
): Promise<SessionRef> {
  const opened = await store.sessions.openSession(
    {
      agentId,
      sessionId: randomUUID(),
      serverId: 'server',
      instanceNonce: agentId,
      description: create(AgentDescriptionSchema, {
        properties: [{ key: 'os', value: os }],
        resources: { cores: 4n },
        payloadTypes: ['x.Word'],
        leasesMax: 4,
        ...rest,
      }),
      proven: [],
    },
    context,
  );
  return { agentId, epoch: opened.epoch };
}

async function claim({ store }: SetUp, session: SessionRef): Promise<AssignedAttempt> {
  // Claims for sessions that fit, as a source does.
  const all = await store.queue.waitingClasses('words', context);
  const classes = all.filter(({ requirements }) => requirements.condition !== undefined);
  const request = { source: 'words', classIds: classes.map(({ classId }) => classId), places: [session] };
  return (await store.queue.claim(request, context))[0]!;
}

async function end({ store }: SetUp, attempt: AssignedAttempt, outcome: AttemptOutcome = 'completed', output?: Any) {
  const { leaseId, agentId, epoch } = attempt;
  const key = { leaseId, attempt: attempt.attempt, agentId, epoch };
  await store.attempts.record(
    [{ ...key, kind: 'end', outcome, noRetry: false, ...(output ? { output } : {}) }],
    context,
  );
  const { jobId } = await store.jobs.lease(leaseId, context);
  store.signals.announce({ kind: 'job', jobId: jobId! });
}

async function code(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'no error',
    (error: unknown) => droverErrorFromConnect(error).code,
  );
}

describe('submitting', () => {
  test('plans a job into leases that wait under its name and priority', async () => {
    const bench = setUp();
    const heard: unknown[] = [];
    bench.store.signals.listen((signal) => heard.push(signal));
    const jobId = await bench.submit('one two', { name: 'both', priority: 7 });
    const { job } = await bench.jobs.getJob({ jobId: jobId.slice(0, 8) });
    expect(job).toMatchObject({ jobId, name: 'both', priority: 7, state: JobState.WAITING, submitter: 'user:tester' });
    expect(job!.leases.map(({ name, requirements, state }) => [name, requirements, state])).toEqual([
      ['one', 'os == linux', LeaseState.WAITING],
      ['two', 'os == linux', LeaseState.WAITING],
    ]);
    await expect.poll(() => heard).toContainEqual({ kind: 'work', source: 'words' });
  });

  test('the same request id gives the same job, and any other payload one lease', async () => {
    const bench = setUp();
    const first = await bench.submit('one', { requestId: 'r' });
    expect(await bench.submit('one', { requestId: 'r' })).toBe(first);
    const payload = create(AnySchema, { typeUrl: 'type.googleapis.com/x.Unplanned', value: new Uint8Array(3) });
    const { jobIds } = await bench.jobs.submitJobs({ jobs: [{ payload, name: 'plain' }] });
    const { job } = await bench.jobs.getJob({ jobId: jobIds[0]! });
    expect(job!.leases).toMatchObject([{ name: 'plain', payloadType: 'x.Unplanned' }]);
  });

  test('refuses what is not right and stores nothing of it', async () => {
    const { jobs } = setUp();
    const one = { payload: words('one') };
    expect(await code(jobs.submitJobs({ jobs: [] }))).toBe('INVALID_JOB_COUNT');
    expect(await code(jobs.submitJobs({ jobs: [one, {}] }))).toBe('PAYLOAD_MISSING');
    expect(await code(jobs.submitJobs({ jobs: [one, { payload: words('bad') }] }))).toBe('JOB_INVALID');
    expect(await code(jobs.submitJobs({ jobs: [{ ...one, priority: 1_001 }] }))).toBe('INVALID_PRIORITY');
    expect(await code(jobs.submitJobs({ jobs: [{ ...one, name: 'x'.repeat(257) }] }))).toBe('INVALID_JOB_NAME');
    expect(await code(jobs.submitJobs({ jobs: [{ ...one, requestId: 'x'.repeat(129) }] }))).toBe('INVALID_REQUEST_ID');
    expect(await code(jobs.submitJobs({ jobs: [{ payload: words('w '.repeat(1_001)) }] }))).toBe('TOO_MANY_LEASES');
    expect((await jobs.listJobs({})).jobs).toEqual([]);
  });

  test('refuses what only the server makes leases of, also behind a reference', async () => {
    const { jobs } = setUp({ reserved: new Set(['x.Shutdown']) });
    const submit = (typeUrl: string, value: Uint8Array<ArrayBuffer> = new Uint8Array(3)) =>
      code(jobs.submitJobs({ jobs: [{ payload: create(AnySchema, { typeUrl, value }) }] }));
    expect(await submit('type.googleapis.com/x.Shutdown')).toBe('PAYLOAD_RESERVED');
    expect(await submit('x.Shutdown')).toBe('PAYLOAD_RESERVED');
    // What it leads to would be unpacked as what it is, whatever it was matched as.
    const inside = create(AnySchema, { typeUrl: 'type.googleapis.com/x.Shutdown', value: new Uint8Array(3) });
    const { typeUrl, value } = payloadReference('x.Work', digestOfBytes(toBinary(AnySchema, inside)));
    expect(await submit(typeUrl, new Uint8Array(value))).toBe('PAYLOAD_INVALID');
    expect((await jobs.listJobs({})).jobs).toEqual([]);
  });

  test('binds to agents that wait, and tells the placement what became of it', async () => {
    const sessions: SessionRef[] = [];
    const confirmed: string[] = [];
    let released = 0;
    const bench = setUp({
      placement: {
        reserve: (drafts: readonly LeaseDraft[]) => ({
          bindings: new Map([[drafts[0]!.leaseId, sessions[0]!]]),
          confirm: (assigned) => void confirmed.push(...assigned.map(({ leaseId }) => leaseId)),
          release: () => void (released += 1),
        }),
      },
    });
    sessions.push(await agent(bench, 'a'));
    const jobId = await bench.submit('one two');
    const { job } = await bench.jobs.getJob({ jobId });
    expect(job!.leases.map(({ state }) => state)).toEqual([LeaseState.OFFERED, LeaseState.WAITING]);
    expect(confirmed).toEqual([job!.leases[0]!.leaseId]);
    expect(released).toBe(0);
    await bench.store.close();
    expect(await code(bench.submit('three'))).toBe('STORE_CLOSED');
    expect(released).toBe(1);
  });

  test('puts large payloads into the content store and pins them until a cancel ends the lease', async () => {
    await using blobs = createMemoryContentStore({ sizeBytesMax: 1024 * 1024 });
    const bench = setUp({ blobs });
    const payload = create(AnySchema, { typeUrl: 'type.googleapis.com/x.Large', value: new Uint8Array(300_000) });
    const { jobIds } = await bench.jobs.submitJobs({ jobs: [{ payload }] });
    const session = await agent(bench, 'a', 'linux', { payloadTypes: ['x.Large'] });
    const [waiting] = await bench.store.queue.waitingClasses('job', context);
    expect(waiting?.payloadType).toBe('x.Large');
    const request = { source: 'job', classIds: [waiting!.classId], places: [session] };
    const [attempt] = await bench.store.queue.claim(request, context);
    const digest = referencedDigest(attempt!.payload)!;
    expect(digest.sizeBytes).toBe(toBinary(AnySchema, payload).byteLength);
    expect(await blobs.findMissing([digest])).toEqual([]);
    await bench.jobs.cancelJob({ jobId: jobIds[0]! });
  });
});

describe('reading', () => {
  test('pages through jobs, newest first, by state if asked', async () => {
    const bench = setUp();
    const ids: string[] = [];
    for (const text of ['a', 'b', 'c', 'd', 'e']) ids.unshift(await bench.submit(text));
    await bench.jobs.cancelJob({ jobId: ids[1]! });
    const seen: string[] = [];
    let pageToken = '';
    do {
      const page = await bench.jobs.listJobs({ pageSize: 2, pageToken });
      seen.push(...page.jobs.map(({ jobId }) => jobId));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(seen).toEqual(ids);
    const waiting: string[] = [];
    do {
      const page = await bench.jobs.listJobs({ pageSize: 3, pageToken, states: [JobState.WAITING] });
      waiting.push(...page.jobs.map(({ jobId }) => jobId));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(waiting).toEqual(ids.filter((_, index) => index !== 1));
    expect(await code(bench.jobs.listJobs({ pageSize: 501 }))).toBe('INVALID_PAGE_SIZE');
    expect(await code(bench.jobs.listJobs({ pageToken: '!' }))).toBe('INVALID_PAGE_TOKEN');
  });

  test('says what does not exist, and what is no id', async () => {
    const { jobs } = setUp();
    expect(await code(jobs.getJob({ jobId: randomUUID() }))).toBe('JOB_NOT_FOUND');
    expect(await code(jobs.getJob({ jobId: 'x' }))).toBe('INVALID_JOB_ID');
    expect(await code(jobs.cancelJob({ jobId: randomUUID() }))).toBe('JOB_NOT_FOUND');
  });

  test('gives output and logs of an ended job, and its state by its leases', async () => {
    const bench = setUp();
    const jobId = await bench.submit('one two');
    const session = await agent(bench, 'a');
    const first = await claim(bench, session);
    await bench.store.logs.append(
      {
        ...session,
        leaseId: first.leaseId,
        attempt: 1,
        log: 'out',
        offset: 0,
        data: Buffer.from('hi'),
        complete: true,
      },
      context,
    );
    const output = create(AnySchema, { typeUrl: 'type.googleapis.com/x.Output', value: new Uint8Array([5]) });
    await end(bench, first, 'completed', output);
    const running = (await bench.jobs.getJob({ jobId })).job!;
    expect(running.state).toBe(JobState.RUNNING);
    const ended = running.leases.find(({ leaseId }) => leaseId === first.leaseId)!;
    expect(ended).toMatchObject({
      state: LeaseState.ENDED,
      succeeded: true,
      output: { typeUrl: 'type.googleapis.com/x.Output' },
      logs: [{ name: 'out', sizeBytes: 2n, complete: true }],
      attempts: [{ agentId: 'a', attempt: 1 }],
    });
    await end(bench, await claim(bench, session), 'failed');
    const job = (await bench.jobs.getJob({ jobId })).job!;
    expect(job.state).toBe(JobState.FAILED);
    expect(job.endedAt).toBeDefined();
  });
});

describe('watching', () => {
  test('sends a state after every change until the job has ended', async () => {
    const bench = setUp({}, { pollMs: 60_000 });
    const jobId = await bench.submit('one');
    const seen: JobStatus[] = [];
    const done = (async () => {
      for await (const { job } of bench.jobs.watchJob({ jobId })) seen.push(job!);
    })();
    await expect.poll(() => seen.length).toBe(1);
    const attempt = await claim(bench, await agent(bench, 'a'));
    await bench.store.jobs.recordProgress(
      [{ leaseId: attempt.leaseId, attempt: 1, percent: 40, message: 'half' }],
      context,
    );
    bench.store.signals.announce({ kind: 'job', jobId });
    await expect.poll(() => seen.at(-1)?.leases[0]).toMatchObject({ percent: 40, progressMessage: 'half' });
    await end(bench, attempt);
    await done;
    expect(seen.at(-1)?.state).toBe(JobState.SUCCEEDED);
  });

  test('finds a change that no signal spoke of, and is bounded', async () => {
    const bench = setUp({}, { followersMax: 1 });
    const jobId = await bench.submit('one');
    const states: JobState[] = [];
    const done = (async () => {
      for await (const { job } of bench.jobs.watchJob({ jobId })) states.push(job!.state);
    })();
    await expect.poll(() => states.length).toBe(1);
    const second = bench.jobs.watchJob({ jobId })[Symbol.asyncIterator]();
    expect(await code(second.next())).toBe('FOLLOWERS_FULL');
    await bench.store.jobs.wishCancel(jobId, '', context);
    await done;
    expect(states.at(-1)).toBe(JobState.CANCELLED);
  });

  test('a cancel is stored, told to the agents, and ends the job', async () => {
    const bench = setUp();
    const heard: unknown[] = [];
    bench.store.signals.listen((signal) => heard.push(signal));
    const jobId = await bench.submit('one two');
    await claim(bench, await agent(bench, 'a'));
    await bench.jobs.cancelJob({ jobId, reason: 'no longer needed' });
    await expect.poll(() => heard).toContainEqual({ kind: 'cancel', agentId: 'a' });
    const { job } = await bench.jobs.getJob({ jobId });
    expect(job!.cancelWished).toBe(true);
    expect(job!.leases.map(({ state }) => state).sort()).toEqual([LeaseState.CANCELLING, LeaseState.ENDED]);
    expect(await code(bench.jobs.cancelJob({ jobId, reason: 'x'.repeat(1_025) }))).toBe('INVALID_CANCEL_REASON');
  });
});

describe('reading a log', () => {
  test('follows it until it is complete', async () => {
    const bench = setUp({}, { pollMs: 60_000 });
    await bench.submit('one');
    const session = await agent(bench, 'a');
    const attempt = await claim(bench, session);
    const { leaseId } = attempt;
    let text = '';
    const done = (async () => {
      for await (const piece of bench.jobs.readLog({ leaseId, log: 'out', follow: true })) {
        expect(Number(piece.offset)).toBe(text.length);
        text += Buffer.from(piece.data).toString();
      }
    })();
    const append = async (offset: number, data: string, complete = false) => {
      await bench.store.logs.append(
        { ...session, leaseId, attempt: 1, log: 'out', offset, data: Buffer.from(data), complete },
        context,
      );
      bench.store.signals.announce({ kind: 'log', leaseId });
    };
    await append(0, 'hello ');
    await expect.poll(() => text).toBe('hello ');
    await append(6, 'world', true);
    await done;
    expect(text).toBe('hello world');
  });

  test('ends with the attempt when nobody says that it is complete, the tail included', async () => {
    const bench = setUp();
    await bench.submit('one');
    const session = await agent(bench, 'a');
    const attempt = await claim(bench, session);
    const { leaseId } = attempt;
    await bench.store.logs
      .append(
        { ...session, leaseId, attempt: 1, log: 'out', offset: 0, data: Buffer.alloc(300_000, 'x'), complete: false },
        context,
      )
      .catch(() => undefined);
    const data = Buffer.alloc(200_000, 'y');
    await bench.store.logs.append(
      { ...session, leaseId, attempt: 1, log: 'out', offset: 0, data, complete: false },
      context,
    );
    await end(bench, attempt);
    let bytes = 0;
    for await (const piece of bench.jobs.readLog({ leaseId, log: 'out', follow: true })) bytes += piece.data.byteLength;
    expect(bytes).toBe(200_000);
  });

  test('without following, gives what is there; wrong requests are told so', async () => {
    const bench = setUp();
    const jobId = await bench.submit('one');
    const { job } = await bench.jobs.getJob({ jobId });
    const read = async (request: { leaseId: string; log: string }) => {
      let pieces = 0;
      for await (const _ of bench.jobs.readLog(request)) pieces += 1;
      return pieces;
    };
    expect(await read({ leaseId: job!.leases[0]!.leaseId, log: 'out' })).toBe(0);
    expect(await code(read({ leaseId: randomUUID(), log: 'out' }))).toBe('LEASE_NOT_FOUND');
    expect(await code(read({ leaseId: 'x', log: 'out' }))).toBe('INVALID_LEASE_ID');
    expect(await code(read({ leaseId: randomUUID(), log: '' }))).toBe('INVALID_LOG_NAME');
  });
});

describe('the fleet', () => {
  test('is listed with what its agents are and hold', async () => {
    const bench = setUp();
    await bench.submit('one two', { priority: 3 });
    await claim(bench, await agent(bench, 'a'));
    await agent(bench, 'b');
    const page = await bench.fleet.listAgents({ pageSize: 1 });
    expect(page.agents).toMatchObject([{ agentId: 'a', online: true, leases: 1 }]);
    const next = await bench.fleet.listAgents({ pageSize: 1, pageToken: page.nextPageToken });
    expect(next.agents).toMatchObject([{ agentId: 'b', leases: 0 }]);
    expect((await bench.fleet.listLeases({})).leases).toHaveLength(2);
    const ofAgent = await bench.fleet.listLeases({ agentId: 'a' });
    expect(ofAgent.leases).toMatchObject([{ state: LeaseState.OFFERED, priority: 3 }]);
    expect(await code(bench.fleet.listAgents({ pageSize: 1_001 }))).toBe('INVALID_PAGE_SIZE');
  });

  test('explains for each agent why it does not take a waiting lease', async () => {
    const bench = setUp();
    const jobId = await bench.submit('one');
    await agent(bench, 'fits');
    await agent(bench, 'other-os', 'windows');
    await agent(bench, 'no-handler', 'linux', { payloadTypes: [] });
    const busy = await agent(bench, 'busy');
    await bench.store.sessions.recordCondition(
      busy,
      { condition: 'busy', reason: { code: 'BUSY_IN_USE', message: 'somebody types' } },
      context,
    );
    await bench.store.sessions.endSession(await agent(bench, 'offline'), 'gone', context);
    const { leases } = await bench.fleet.explainJob({ jobId });
    const codes = Object.fromEntries(
      leases[0]!.agents.map(({ agentId, code, fits }) => [agentId, fits ? 'FITS' : code]),
    );
    expect(codes).toEqual({
      fits: 'FITS',
      'other-os': 'CONDITION_FALSE',
      'no-handler': 'PAYLOAD_TYPE_UNKNOWN',
      busy: 'BUSY',
      offline: 'NO_SESSION',
    });
    const busyOne = leases[0]!.agents.find(({ agentId }) => agentId === 'busy');
    expect(busyOne?.message).toMatch(/: somebody types$/);
    const listed = (await bench.fleet.listAgents({})).agents.find(({ agentId }) => agentId === 'busy');
    expect(listed?.conditionReason).toMatchObject({ code: 'BUSY_IN_USE', message: 'somebody types' });
  });

  test('says when nobody could ever take a lease, and who refused it before', async () => {
    const bench = setUp();
    const session = await agent(bench, 'a');
    const jobId = await bench.submit('huge one');
    const attempt = await claim(bench, session);
    const { leaseId, agentId, epoch } = attempt;
    const refusal = { code: 'NO_DISK', message: 'no room on its disk' };
    const key = { leaseId, attempt: 1, agentId, epoch, noRetry: false, reason: refusal };
    await bench.store.attempts.record([{ ...key, kind: 'end', outcome: 'refused' }], context);
    const { leases } = await bench.fleet.explainJob({ jobId });
    const byName = Object.fromEntries(leases.map(({ name, agents }) => [name, agents.map(({ code }) => code)]));
    expect(byName).toEqual({
      huge: ['NOBODY_CAN_TAKE_IT', expect.any(String)],
      one: ['NOBODY_CAN_TAKE_IT', expect.any(String)],
    });
    const all = leases.flatMap(({ agents }) => agents.map(({ code }) => code));
    expect(all).toContain('REFUSED_BEFORE');
    expect(all).toContain('TOO_SMALL');
  });
});
