import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema, anyPack, anyUnpack, Int32ValueSchema, StringValueSchema, type Any } from '@bufbuild/protobuf/wkt';
import {
  defineLeaseType,
  DroverError,
  type HandlerResult,
  type LeaseContext,
  type LeaseHandler,
  type LeaseTypeOptions,
} from '@drover/lease-kit';
import { AgentCondition, BlobDigestSchema, Outcome, type AgentLease } from '@drover/lease-protocol';
import type { AttemptEnding } from '@drover/reconciler-state-machine';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AgentJournal } from './agent-journal.ts';
import type { MachineSource } from './describe-machine.ts';
import { createLeaseAgent } from './lease-agent.ts';
import type { LeaseAgent, LeaseAgentDeps, LeaseAgentEvent, LeaseAgentOptions } from './lease-agent-options.ts';
import { MemoryLeaseServer, type MemoryAttemptOptions } from './testing/index.ts';

type Run = (payload: string, context: LeaseContext) => Promise<HandlerResult<typeof StringValueSchema>>;

let stateDir: string;
let server: MemoryLeaseServer;
let agents: LeaseAgent[];

beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'drover-agent-'));
  server = new MemoryLeaseServer();
  agents = [];
});
afterEach(async () => {
  for (const agent of agents) await agent[Symbol.asyncDispose]();
  server.close();
  await rm(stateDir, { recursive: true, force: true });
});

const completed = (value: string): HandlerResult<typeof StringValueSchema> => ({
  kind: 'completed',
  output: create(StringValueSchema, { value }),
});

function echoHandler(
  run: Run = (payload) => Promise.resolve(completed(payload)),
  type: Partial<LeaseTypeOptions<typeof StringValueSchema, typeof StringValueSchema>> = {},
  resume?: Run,
): LeaseHandler {
  const handler: LeaseHandler<typeof StringValueSchema, typeof StringValueSchema> = {
    type: defineLeaseType({ name: 'echo', payload: StringValueSchema, output: StringValueSchema, ...type }),
    run: ({ value }, context) => run(value, context),
    ...(resume ? { resume: ({ value }, context) => resume(value, context) } : {}),
  };
  return handler as unknown as LeaseHandler;
}

const untilStopped: Run = (_payload, { signal }) =>
  new Promise((resolve) =>
    signal.addEventListener('abort', () => {
      const { code, message } = signal.reason as { code: string; message: string };
      resolve({ kind: 'cancelled', code: `STOPPED_${code}`, message });
    }),
  );

async function startAgent(
  handlers: readonly LeaseHandler[],
  options: Partial<LeaseAgentOptions> = {},
  deps: Partial<LeaseAgentDeps> = {},
): Promise<{ agent: LeaseAgent; events: LeaseAgentEvent[] }> {
  const events: LeaseAgentEvent[] = [];
  const agent = createLeaseAgent(
    {
      stateDir,
      agentId: 'agent-1',
      leasesMax: 8,
      resources: { cores: 4 },
      ...options,
      timing: { backoffMinMs: 5, backoffMaxMs: 50, settleMs: 50, progressMs: 5, ...options.timing },
    },
    { client: server.client(), handlers, onEvent: (event) => events.push(event), ...deps },
  );
  agents.push(agent);
  await agent.start();
  return { agent, events };
}

const offer = (value: string, options?: MemoryAttemptOptions) =>
  server.offer(StringValueSchema, create(StringValueSchema, { value }), options);

function reportOf(ending: AttemptEnding<AgentLease>): AgentLease {
  if (!('report' in ending)) throw new Error(`the attempt ended as ${ending.kind}`);
  return ending.report;
}

function outputOf(ending: AttemptEnding<AgentLease>): string | undefined {
  const { result } = reportOf(ending);
  return result.case === 'output' ? anyUnpack(result.value, StringValueSchema)?.value : undefined;
}

describe('work', () => {
  test('is run and its output comes back', async () => {
    const attempt = offer('hello');
    const { events } = await startAgent([echoHandler()]);
    const ending = await server.ended(attempt);
    expect(reportOf(ending).outcome).toBe(Outcome.COMPLETED);
    expect(outputOf(ending)).toBe('hello');
    expect(events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['session-opened', 'attempt-started', 'attempt-ended']),
    );
  });

  test('starts at most once, also when messages repeat and links break', async () => {
    const started = new Map<string, number>();
    await startAgent([
      echoHandler((payload, context) => {
        started.set(context.leaseId, (started.get(context.leaseId) ?? 0) + 1);
        return Promise.resolve(completed(payload));
      }),
    ]);
    const attempts = [];
    for (let round = 0; round < 20; round++) {
      attempts.push(offer(`${round}`));
      if (round % 3 === 0) server.breakLink();
      if (round % 7 === 0) server.breakSession();
      await server.until(() => true);
    }
    for (const attempt of attempts) expect(outputOf(await server.ended(attempt))).toBeDefined();
    expect([...started.values()].every((times) => times === 1)).toBe(true);
  });

  test('goes on being told to stop, and the agent goes on speaking, while the disk takes nothing', async () => {
    const gate = Promise.withResolvers<void>();
    const { agent, events } = await startAgent([
      echoHandler((payload, context) =>
        payload === 'quick' ? gate.promise.then(() => completed(payload)) : untilStopped(payload, context),
      ),
    ]);
    const [quick, long] = [offer('quick'), offer('long')];
    await expect.poll(() => [quick.state, long.state]).toEqual(['accepted', 'accepted']);
    const append = vi.spyOn(AgentJournal.prototype, 'append').mockImplementation(() => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    });
    try {
      gate.resolve();
      await expect.poll(() => agent.status().condition).toBe('unhealthy');
      server.cancel(long);
      const stopped = { type: 'attempt-ended', leaseId: long.leaseId, outcome: 'cancelled' };
      await expect.poll(() => events).toContainEqual(expect.objectContaining(stopped));
    } finally {
      append.mockRestore();
    }
    expect(outputOf(await server.ended(quick))).toBe('quick');
    expect(reportOf(await server.ended(long)).outcome).toBe(Outcome.CANCELLED);
  });

  test('makes no folder that it does not use, and removes the ones that it does', async () => {
    const dirs: string[] = [];
    await startAgent([
      echoHandler((payload, context) => {
        if (payload === 'folder') dirs.push(context.attemptDir);
        return Promise.resolve(completed(payload));
      }),
    ]);
    await server.ended(offer('none'));
    expect(await readdir(join(stateDir, 'attempts'))).toEqual([]);
    await server.ended(offer('folder'));
    expect(dirs).toHaveLength(1);
    await expect.poll(() => existsSync(dirs[0]!)).toBe(false);
  });

  test('that throws or whose output is too large has failed with a code', async () => {
    await startAgent([
      echoHandler((payload) => {
        if (payload === 'throw') throw new DroverError({ code: 'INPUT_MISSING', advice: 'not-found', message: 'gone' });
        return Promise.resolve(completed('x'.repeat(100_000)));
      }),
    ]);
    expect(reportOf(await server.ended(offer('throw'))).reason?.code).toBe('INPUT_MISSING');
    expect(reportOf(await server.ended(offer('large'))).reason?.code).toBe('OUTPUT_TOO_LARGE');
  });

  test('is stopped at its run limit', async () => {
    await startAgent([echoHandler(untilStopped)]);
    const report = reportOf(await server.ended(offer('x', { runLimitMs: 20 })));
    expect(report.outcome).toBe(Outcome.TIMED_OUT);
  });

  test('tells its progress, the newest', async () => {
    const { promise: go, resolve } = Promise.withResolvers<void>();
    await startAgent([
      echoHandler(async (payload, context) => {
        for (let percent = 0; percent <= 40; percent++) context.progress(percent, `at ${percent}`);
        await go;
        return completed(payload);
      }),
    ]);
    const attempt = offer('x');
    await server.until(() => server.progress.some(({ percent }) => percent === 40));
    expect(server.progress.at(-1)).toMatchObject({ leaseId: attempt.leaseId, message: 'at 40' });
    resolve();
    await server.ended(attempt);
  });

  test('has its whole log on the server before its end is told', async () => {
    await startAgent([
      echoHandler(async (payload, context) => {
        await context.log('written').write('by the handler');
        await appendFile(context.log('child').path, 'by a child');
        return completed(payload);
      }),
    ]);
    const attempt = offer('x');
    let logsAtEnd: (string | undefined)[] = [];
    await server.until(() => {
      if (!attempt.ending) return false;
      logsAtEnd = [server.logText(attempt, 'written'), server.logText(attempt, 'child')];
      return true;
    });
    expect(logsAtEnd).toEqual(['by the handler', 'by a child']);
  });
});

describe('refusals', () => {
  test.each<[string, () => ReturnType<typeof offer>, string]>([
    [
      'a type that it does not know',
      () => server.offer(Int32ValueSchema, create(Int32ValueSchema, { value: 1 })),
      'LEASE_TYPE_UNKNOWN',
    ],
    [
      'a payload that it cannot read',
      () =>
        server.offerAny(
          create(AnySchema, {
            typeUrl: 'type.googleapis.com/google.protobuf.StringValue',
            value: new Uint8Array([10, 200]),
          }),
        ),
      'PAYLOAD_INVALID',
    ],
    ['more than the machine has', () => offer('x', { resources: { cores: 5 } }), 'RESOURCE_TOO_LARGE'],
    ['what the handler refuses', () => offer('refuse me'), 'NOT_TODAY'],
  ])('%s', async (_what, make, code) => {
    const handler = echoHandler();
    await startAgent([
      {
        ...handler,
        refusal: (payload) =>
          (payload as unknown as { value: string }).value === 'refuse me'
            ? { code: 'NOT_TODAY', message: 'not today' }
            : undefined,
      },
    ]);
    const ending = await server.ended(make());
    expect(ending.kind).toBe('refused');
    expect(reportOf(ending).reason?.code).toBe(code);
  });

  test('what does not fit beside what runs, and takes it when there is room', async () => {
    await startAgent([echoHandler(untilStopped)]);
    const first = offer('x', { resources: { cores: 3 } });
    await server.until(() => first.state === 'accepted');
    const second = offer('x', { resources: { cores: 2 } });
    expect(reportOf(await server.ended(second)).reason?.code).toBe('RESOURCE_TAKEN');
    server.cancel(first);
    await server.ended(first);
    const third = offer('x', { resources: { cores: 4 } });
    await server.until(() => third.state === 'accepted');
  });
});

describe('stopping', () => {
  test('a cancelled attempt ends within its grace', async () => {
    await startAgent([echoHandler(untilStopped)]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.cancel(attempt);
    expect(reportOf(await server.ended(attempt))).toMatchObject({
      outcome: Outcome.CANCELLED,
      reason: { code: 'STOPPED_cancelled' },
    });
  });

  test('an orphan is stopped and forgotten', async () => {
    const { promise: stopped, resolve } = Promise.withResolvers<string>();
    const { agent } = await startAgent([
      echoHandler((payload, context) => {
        void context.log('x').write('nobody reads it');
        context.signal.addEventListener('abort', () => resolve((context.signal.reason as { code: string }).code));
        return untilStopped(payload, context);
      }),
    ]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.disown(attempt);
    expect(await stopped).toBe('orphaned');
    await expect.poll(() => agent.status().attempts, { timeout: 10_000 }).toEqual([]);
  });

  test('drain: no new work, what runs is finished', async () => {
    const { promise: go, resolve } = Promise.withResolvers<void>();
    const { agent } = await startAgent([echoHandler((payload) => go.then(() => completed(payload)))]);
    const running = offer('running');
    await server.until(() => running.state === 'accepted');
    const drained = agent.drain();
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.STOPPING);
    const late = offer('late');
    expect(reportOf(await server.ended(late)).reason?.code).toBe('AGENT_STOPPING');
    resolve();
    expect(outputOf(await server.ended(running))).toBe('running');
    expect(await drained).toBe('drained');
    expect(agent.status().exit).toBe('drained');
  });

  test('cancel: what runs is stopped and may be tried elsewhere', async () => {
    const { agent } = await startAgent([echoHandler(untilStopped)]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    expect(await agent.stop({ how: 'cancel' })).toBe('drained');
    expect(reportOf(await server.ended(attempt)).outcome).toBe(Outcome.LOST);
  });

  test('cancel without a server: the end is kept and told by the next process', async () => {
    const { agent } = await startAgent([echoHandler(untilStopped)]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.outage = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'away' });
    server.breakLink();
    expect(await agent.stop({ how: 'cancel' })).toBe('unsettled');
    server.outage = undefined;
    await startAgent([echoHandler()]);
    expect(reportOf(await server.ended(attempt)).reason?.code).toBe('STOPPED_shutting-down');
  });

  test('a fenced agent stops its work and ends', async () => {
    const { agent } = await startAgent([echoHandler(untilStopped)]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.fence();
    expect(await agent.done).toBe('fenced');
  });

  test('an unhealthy machine says why, lets what runs go on and takes nothing until it is healthy', async () => {
    const { agent } = await startAgent([echoHandler(untilStopped)]);
    const running = server.offer(StringValueSchema, create(StringValueSchema));
    await server.until(() => running.state === 'accepted');
    const problem = { code: 'DISK_SPACE_LOW', message: 'the disk of /work is full' };
    agent.setUnhealthy(problem);
    expect(agent.status()).toMatchObject({ condition: 'unhealthy', conditionReason: problem });
    await server.until(() => server.received.at(-1)?.conditionReason?.code === 'DISK_SPACE_LOW');
    expect(server.received.at(-1)).toMatchObject({ condition: AgentCondition.UNHEALTHY, conditionReason: problem });
    const late = server.offer(StringValueSchema, create(StringValueSchema));
    expect(await server.ended(late)).toMatchObject({
      kind: 'refused',
      report: { reason: { code: 'AGENT_UNHEALTHY', message: 'the machine is not fit: the disk of /work is full' } },
    });
    expect(running.ending).toBeUndefined();
    agent.setUnhealthy(undefined);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.READY);
    expect(server.received.at(-1)?.conditionReason).toBeUndefined();
  });

  test('a machine that becomes another one says so once a link, in the same session', async () => {
    let ram = 1_000;
    const listeners = new Set<() => void>();
    const machine: MachineSource = {
      describe: () => ({ name: 'box', bootId: 'boot', properties: { RAM: String(ram) }, resources: { ram } }),
      onChange: (listener) => (listeners.add(listener), () => void listeners.delete(listener)),
    };
    const { agent, events } = await startAgent([echoHandler()], { properties: { rack: 'a7' } }, { machine });
    await server.until(() => server.received.length > 0);
    expect(server.sessionsOpened[0]?.agent).toMatchObject({ name: 'box', bootId: 'boot', resources: { ram: 1_000n } });
    for (const listener of listeners) listener();
    ram = 2_000;
    for (const listener of listeners) listener();
    const told = () => server.received.filter(({ description }) => description !== undefined);
    await server.until(() => told().length === 1);
    expect(told()[0]?.description).toMatchObject({ resources: { ram: 2_000n, cores: 4n }, leasesMax: 8 });
    expect(told()[0]?.description?.properties).toEqual([
      expect.objectContaining({ key: 'RAM', value: '2000' }),
      expect.objectContaining({ key: 'rack', value: 'a7' }),
    ]);
    expect(agent.status().resources.total).toMatchObject({ ram: 2_000, cores: 4 });
    expect(events.filter(({ type }) => type === 'description-changed')).toHaveLength(1);
    // A work is done without saying it again; a link that is new says it, for the one before may have lost it.
    expect(await server.ended(server.offer(StringValueSchema, create(StringValueSchema)))).toBeDefined();
    expect(told()).toHaveLength(1);
    server.breakLink();
    await server.until(() => told().length === 2);
    expect(server.sessionsOpened).toHaveLength(1);
    // A new session is opened with it, and has nothing to add.
    server.breakSession();
    await server.until(() => server.sessionsOpened.length === 2);
    expect(server.sessionsOpened[1]?.agent).toMatchObject({ resources: { ram: 2_000n } });
    const before = server.received.length;
    await server.until(() => server.received.length > before);
    expect(told()).toHaveLength(2);
    await agent.drain();
    expect(listeners.size).toBe(0);
  });

  test('a busy machine stops what runs and takes nothing until it is not', async () => {
    const { agent } = await startAgent([
      echoHandler((payload, context) =>
        payload === 'long' ? untilStopped(payload, context) : Promise.resolve(completed(payload)),
      ),
    ]);
    const attempt = offer('long');
    await server.until(() => attempt.state === 'accepted');
    agent.setBusy(true);
    expect(reportOf(await server.ended(attempt)).outcome).toBe(Outcome.LOST);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.BUSY);
    expect(reportOf(await server.ended(offer('x'))).reason?.code).toBe('AGENT_BUSY');
    agent.setBusy(false);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.READY);
    expect(outputOf(await server.ended(offer('again')))).toBe('again');
  });

  test('one that was never started stops as often as it is asked, and leaves its folder', async () => {
    const make = () =>
      createLeaseAgent({ stateDir, leasesMax: 1 }, { client: server.client(), handlers: [echoHandler()] });
    const agent = make();
    const { agentId } = agent;
    expect([await agent.drain(), await agent.stop({ how: 'cancel' }), await agent.done]).toEqual(
      Array(3).fill('drained'),
    );
    const next = make();
    agents.push(next);
    expect(next.agentId).toBe(agentId);
  });

  test('says to who uses the machine beside it whether it takes work, when that changes', async () => {
    const { agent, events } = await startAgent([echoHandler()]);
    const told = () => events.filter((event) => event.type === 'condition-changed').map(({ condition }) => condition);
    agent.setBusy(true);
    await expect.poll(told).toEqual(['busy']);
    agent.setUnhealthy({ code: 'DISK_SPACE_LOW', message: 'full' });
    agent.setBusy(false);
    await expect.poll(told).toEqual(['busy', 'unhealthy']);
    agent.setUnhealthy(undefined);
    await expect.poll(told).toEqual(['busy', 'unhealthy', 'ready']);
    await agent.drain();
    expect(told()).toEqual(['busy', 'unhealthy', 'ready', 'stopping']);
  });

  test('a machine that is busy before the start says nothing else first', async () => {
    const agent = createLeaseAgent(
      { stateDir, agentId: 'agent-1', leasesMax: 1 },
      { client: server.client(), handlers: [echoHandler()] },
    );
    agents.push(agent);
    expect(agent.attemptFolders()).toBeUndefined();
    agent.setBusy(true, { code: 'BUSY_IN_USE', message: 'somebody types' });
    await agent.start();
    await server.until(() => server.received.length > 0);
    expect(server.received[0]).toMatchObject({
      condition: AgentCondition.BUSY,
      conditionReason: { code: 'BUSY_IN_USE', message: 'somebody types' },
    });
    agent.setBusy(false);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.READY);
  });

  test('folders of attempts are its own while it holds them, or their handler may run', async () => {
    const stubborn = Promise.withResolvers<void>();
    const { agent } = await startAgent([
      echoHandler(async (_payload, context) => {
        await writeFile(join(context.attemptDir, 'file'), 'x');
        await stubborn.promise;
        return completed('late');
      }),
    ]);
    const attempt = offer('x', { leaseId: 'lease-x', cancelGraceMs: 1 });
    await expect.poll(() => existsSync(join(stateDir, 'attempts/lease-x.1/work/file'))).toBe(true);
    expect([...agent.attemptFolders()!]).toEqual(['lease-x.1']);
    server.cancel(attempt);
    await server.ended(attempt);
    await expect.poll(() => agent.status().attempts, { timeout: 10_000 }).toEqual([]);
    // The handler did not stop and was abandoned.
    expect([...agent.attemptFolders()!]).toEqual(['lease-x.1']);
    stubborn.resolve();
    await expect.poll(() => [...agent.attemptFolders()!]).toEqual([]);
    expect(existsSync(join(stateDir, 'attempts/lease-x.1'))).toBe(false);
  });

  test('an operator who needs the machine is obeyed, beside what the machine says itself, also by a later session', async () => {
    const { agent } = await startAgent([echoHandler(untilStopped)]);
    const attempt = offer('long');
    await server.until(() => attempt.state === 'accepted');
    server.wishBusy(true);
    expect(reportOf(await server.ended(attempt)).outcome).toBe(Outcome.LOST);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.BUSY);
    expect(server.received.at(-1)?.conditionReason?.code).toBe('BUSY_BY_COMMAND');
    server.breakSession();
    await server.until(() => server.sessionsOpened.length === 2);
    expect(agent.status().condition).toBe('busy');
    agent.setBusy(true);
    server.wishBusy(false);
    await server.until(() => agent.status().conditionReason === undefined);
    expect(agent.status().condition).toBe('busy');
    agent.setBusy(false);
    await server.until(() => server.received.at(-1)?.condition === AgentCondition.READY);
  });

  test('an ephemeral agent takes one lease and leaves', async () => {
    const { agent } = await startAgent([echoHandler()], { ephemeral: true });
    expect(server.sessionsOpened[0]?.agent).toMatchObject({ ephemeral: true, leasesMax: 1 });
    expect(outputOf(await server.ended(offer('one')))).toBe('one');
    expect(await agent.done).toBe('drained');
  });

  test('before it was started', async () => {
    const agent = createLeaseAgent({ stateDir }, { client: server.client(), handlers: [] });
    expect(await agent.drain()).toBe('drained');
    await expect(agent.start()).rejects.toMatchObject({ code: 'AGENT_ENDED' });
  });
});

describe('the network', () => {
  test('a server that is away at first', async () => {
    server.outage = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'away' });
    const { events } = await startAgent([echoHandler()]);
    await expect.poll(() => events.filter(({ type }) => type === 'session-failed').length).toBeGreaterThan(1);
    server.outage = undefined;
    expect(outputOf(await server.ended(offer('x')))).toBe('x');
  });

  test('work goes on while the server is away, and its end is told later', async () => {
    const { promise: go, resolve } = Promise.withResolvers<void>();
    await startAgent([echoHandler((payload) => go.then(() => completed(payload)))]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.outage = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'away' });
    server.breakLink();
    resolve();
    await new Promise((resolve) => setImmediate(resolve));
    server.outage = undefined;
    expect(outputOf(await server.ended(attempt))).toBe('x');
  });

  test('a session that the server does not know any more costs no byte of a log, and no secret', async () => {
    const attempt = offer('x');
    server.secrets.set(attempt.leaseId, { token: 'hunter2hunter2' });
    const client = server.client();
    // A server that was started anew: calls of their own find out before the link does.
    let forgotten = 4;
    const unknown = () => {
      if ((forgotten -= 1) >= 0)
        throw new DroverError({ code: 'SESSION_UNKNOWN', advice: 'not-found', message: 'new' });
    };
    const handler = echoHandler(async (_payload, context) => {
      await context.log('out').write('one line\n');
      return completed((await context.secrets()).get('token') ?? 'nothing');
    });
    const forgetful: LeaseAgentDeps['client'] = {
      ...client,
      appendLog: async (request, signal) => (unknown(), client.appendLog(request, signal)),
      fetchSecrets: async (request, signal) => (unknown(), client.fetchSecrets(request, signal)),
    };
    await startAgent([handler], {}, { client: forgetful });
    expect(outputOf(await server.ended(attempt))).toBe('hunter2hunter2');
    expect(server.logText(attempt, 'out')).toBe('one line\n');
    expect(forgotten).toBeLessThan(0);
  });

  test('an attempt whose type says so is stopped when the server is out of reach', async () => {
    server.close();
    server = new MemoryLeaseServer({ heartbeatMs: 100, sessionTimeoutMs: 1_000 });
    const { promise: stopped, resolve } = Promise.withResolvers<string>();
    await startAgent([
      echoHandler(
        (payload, context) => {
          context.signal.addEventListener('abort', () => resolve((context.signal.reason as { code: string }).code));
          return untilStopped(payload, context);
        },
        { cutOff: 'stop' },
      ),
    ]);
    const attempt = offer('x');
    await server.until(() => attempt.state === 'accepted');
    server.outage = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'away' });
    server.breakLink();
    expect(await stopped).toBe('cut-off');
  });
});

describe('large things', () => {
  const blobStore = () => {
    const kept = new Map<string, Uint8Array>();
    return {
      kept,
      put(bytes: Uint8Array) {
        const hash = createHash('sha256').update(bytes).digest('hex');
        kept.set(hash, bytes);
        return { hash, sizeBytes: bytes.length };
      },
      read: ({ hash }: { hash: string }) => {
        const bytes = kept.get(hash);
        return bytes
          ? Promise.resolve(bytes)
          : Promise.reject(new DroverError({ code: 'BLOB_NOT_FOUND', advice: 'not-found', message: 'none' }));
      },
      write: ({ hash }: { hash: string }, bytes: Uint8Array) => Promise.resolve(void kept.set(hash, bytes)),
    };
  };

  test('an output over the threshold goes to the blob store', async () => {
    const blobs = blobStore();
    await startAgent([echoHandler(() => Promise.resolve(completed('y'.repeat(200_000))))], {}, { blobs });
    const { result } = reportOf(await server.ended(offer('x')));
    if (result.case !== 'outputDigest') throw new Error('no digest');
    expect(blobs.kept.get(result.value.hash)?.length).toBe(Number(result.value.sizeBytes));
  });

  test.each([
    ['kept', undefined],
    ['gone', 'PAYLOAD_UNAVAILABLE'],
    ['corrupt', 'PAYLOAD_CORRUPT'],
  ])('a payload by digest that is %s', async (how, code) => {
    const blobs = blobStore();
    await startAgent([echoHandler()], {}, { blobs });
    const packed: Any = anyPack(StringValueSchema, create(StringValueSchema, { value: 'from a blob' }));
    const digest = blobs.put(toBinary(AnySchema, packed));
    if (how === 'gone') blobs.kept.clear();
    if (how === 'corrupt') blobs.kept.set(digest.hash, new Uint8Array(digest.sizeBytes));
    const ending = await server.ended(server.offerDigest(digest));
    if (code === undefined) expect(outputOf(ending)).toBe('from a blob');
    else expect(reportOf(ending).reason?.code).toBe(code);
  });
});

describe('work that is foretold', () => {
  const packed = anyPack(StringValueSchema, create(StringValueSchema, { value: 'foretold' }));
  const bytes = toBinary(AnySchema, packed);
  const digest = { hash: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length };
  const work = {
    case: 'payloadDigest' as const,
    value: create(BlobDigestSchema, { hash: digest.hash, sizeBytes: BigInt(digest.sizeBytes) }),
  };

  /** An agent whose blob store answers with what `answers` holds, in order. */
  async function agentWithBlobs(...answers: (Uint8Array | DroverError)[]) {
    const asked = Array.from(answers, () => Promise.withResolvers<void>());
    let reads = 0;
    const blobs = {
      read() {
        const answer = answers[reads];
        asked[reads++]?.resolve();
        return answer instanceof Uint8Array ? Promise.resolve(answer) : Promise.reject(answer ?? new Error('too many'));
      },
      write: () => Promise.resolve(),
    };
    const { agent } = await startAgent([echoHandler()], {}, { blobs });
    await server.until(() => server.received.length > 0);
    return { agent, asked: asked.map(({ promise }) => promise), reads: () => reads };
  }

  test('is read before it is offered, once', async () => {
    const { asked, reads } = await agentWithBlobs(bytes);
    server.foretell('lease-1', work);
    await asked[0];
    expect(outputOf(await server.ended(server.offerDigest(digest, { leaseId: 'lease-1' })))).toBe('foretold');
    expect(reads()).toBe(1);
  });

  test('is read again if it could not be read before', async () => {
    const gone = new DroverError({ code: 'BLOB_NOT_FOUND', advice: 'not-found', message: 'none' });
    const { asked, reads } = await agentWithBlobs(gone, bytes);
    server.foretell('lease-1', work);
    await asked[0];
    expect(outputOf(await server.ended(server.offerDigest(digest, { leaseId: 'lease-1' })))).toBe('foretold');
    expect(reads()).toBe(2);
  });

  test('is nothing before it is offered: not started, not said', async () => {
    const { agent, asked } = await agentWithBlobs(bytes, bytes);
    server.foretell('lease-1', work);
    await asked[0];
    // Another one's whole life passes.
    expect(outputOf(await server.ended(server.offerDigest(digest)))).toBe('foretold');
    expect(agent.status().attempts.map(({ leaseId }) => leaseId)).not.toContain('lease-1');
    expect(
      JSON.stringify(server.received, (_, value: unknown) => (typeof value === 'bigint' ? 0 : value)),
    ).not.toContain('lease-1');
  });
});

test('two agents never share a state folder', async () => {
  await startAgent([echoHandler()]);
  const second = createLeaseAgent({ stateDir }, { client: server.client(), handlers: [] });
  await expect(second.start()).rejects.toMatchObject({ code: 'AGENT_STATE_IN_USE', advice: 'conflict' });
});

test('an id is drawn once and kept', async () => {
  const make = () => createLeaseAgent({ stateDir }, { client: server.client(), handlers: [] });
  const first = make();
  const { agentId } = first;
  await first.start();
  await first.drain();
  const second = make();
  expect(second.agentId).toBe(agentId);
  await second.drain();
});

test('options that are wrong say so', () => {
  const make = (options: Partial<LeaseAgentOptions>) =>
    createLeaseAgent({ stateDir, ...options }, { client: server.client(), handlers: [] });
  expect(() => make({ leasesMax: 0 })).toThrow(/leasesMax must be a whole number from 1 to 4096, not 0/);
  expect(() => make({ resources: { gpu: 0.5 } })).toThrow(/resources.gpu/);
  expect(() => make({ agentId: '' })).toThrow(/agentId must be 1 to 128 characters/);
});

test('tells the server what the machine is', async () => {
  await startAgent([echoHandler()], { pools: ['build'], properties: { tag: ['a', 'b'] }, version: '1.2.3' });
  await server.until(() => server.sessionsOpened.length > 0);
  const { agent, agentId, instanceNonce } = server.sessionsOpened[0]!;
  expect(agentId).toBe('agent-1');
  expect(instanceNonce).toMatch(/^[0-9a-f-]{36}$/);
  expect(agent).toMatchObject({ version: '1.2.3', pools: ['build'], payloadTypes: ['google.protobuf.StringValue'] });
  expect(agent!.resources['cores']).toBe(4n);
  expect(agent!.bootId).not.toBe('');
  const properties = agent!.properties.map(({ key, value }) => `${key}=${value}`);
  expect(properties).toEqual(
    expect.arrayContaining(['tag=a', 'tag=b', `os=${process.platform}`, `arch=${process.arch}`]),
  );
});
