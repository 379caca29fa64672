import { create } from '@bufbuild/protobuf';
import { anyPack, anyUnpack, EmptySchema } from '@bufbuild/protobuf/wkt';
import { systemClock, silentLogger, type AgentView } from '@drover/lease-kit';
import { taskSourceCompliance } from '@drover/lease-kit/testing';
import {
  createMemoryStore,
  workspaceSetDigest,
  workspacesOf,
  type DroverStore,
  type WorkspaceDraft,
} from '@drover/lease-store';
import { sampleContext as context, sampleSession } from '@drover/lease-store/testing';
import { describe, expect, test } from 'vitest';
import { askedConform } from '../asked-conform.ts';
import { ConformSchema, ConformWishSchema, WorkspaceRemoval } from '../gen/drover/conform/v1/conform_pb.ts';
import { conformConfigSchema } from './conform-config.ts';
import { createConformTaskSource } from './conform-task-source.ts';
import { serverPart } from './server-part.ts';

const draftOf = (name: string, changes: Partial<WorkspaceDraft> = {}): WorkspaceDraft => ({
  name,
  pools: [],
  provider: 'git',
  source: 'https://git.invalid/x.git',
  revision: '',
  folder: name,
  submodules: false,
  sparse: [],
  depth: 0,
  remove: 'nothing',
  ...changes,
});

async function agentOf(store: DroverStore, agentId: string, pools: readonly string[] = []): Promise<AgentView> {
  const { epoch } = await sampleSession(store, agentId);
  return {
    agentId,
    epoch,
    properties: new Map(),
    pools,
    resourcesTotal: {},
    resourcesFree: {},
    leasesFree: 4,
    idle: true,
    payloadTypes: [ConformSchema.typeName],
  };
}

const asked = (workspaces: readonly WorkspaceDraft[], clean = false) =>
  askedConform({ setDigest: workspaceSetDigest(workspaces), clean, reason: '' });
const options = { backoffMs: [1_000], atOnceMax: 100, removesOthers: false };
const { signal } = new AbortController();

taskSourceCompliance({
  describe,
  test,
  async make() {
    const store = createMemoryStore();
    const { agentTasks, signals } = store;
    const deps = { agentTasks, signals, workspacesOf: () => [], setDiffers: () => undefined };
    const source = createConformTaskSource(options, deps);
    const stop = source.onWork!(() => undefined);
    const agents: string[] = [];
    return {
      source,
      async agent(agentId) {
        agents.push(agentId);
        return agentOf(store, agentId);
      },
      async giveWork(count) {
        const payload = asked([]);
        await agentTasks.want(
          agents.slice(0, count).map((agentId) => ({ source: 'conform', agentId, payload })),
          context,
        );
        signals.announce({ kind: 'work', source: 'conform' });
        await Promise.resolve();
      },
      async [Symbol.asyncDispose]() {
        stop();
        await store.close();
      },
    };
  },
});

describe('the source of conforms', () => {
  test('gives an agent the workspaces of its pools, waits while the set differs, and keeps the cap', async () => {
    await using store = createMemoryStore();
    const { workspaces, agentTasks } = store;
    const all = [
      await workspaces.putWorkspace(draftOf('one', { remove: 'untracked' }), context),
      await workspaces.putWorkspace(draftOf('two', { pools: ['GPU'] }), context),
    ];
    let differs = 0;
    const source = createConformTaskSource(
      { ...options, atOnceMax: 1 },
      { agentTasks, workspacesOf: (pools) => workspacesOf(all, pools), setDiffers: () => (differs += 1) },
    );
    const agents = [await agentOf(store, 'a'), await agentOf(store, 'b', ['gpu']), await agentOf(store, 'c')];
    const want = (agentId: string, set: readonly WorkspaceDraft[], clean = false) =>
      agentTasks.want([{ source: 'conform', agentId, payload: asked(set, clean) }], context);
    await want('a', all);
    await want('b', all, true);
    await want('c', all.slice(0, 1));
    const answers = await source.ask(agents, { signal });
    expect([answers.size, differs]).toEqual([1, 1]);
    const answer = answers.get('b');
    const attempt = answer?.kind === 'assigned' ? answer.attempts[0]! : undefined;
    const conform = anyUnpack(attempt!.payload, ConformSchema)!;
    expect(conform.workspaces.map(({ name, removal }) => [name, removal])).toEqual([
      ['one', WorkspaceRemoval.UNTRACKED_AND_IGNORED],
      ['two', WorkspaceRemoval.UNTRACKED_AND_IGNORED],
    ]);
  });

  test('refuses an agent with more workspaces than a lease may have', async () => {
    await using store = createMemoryStore();
    const all: Awaited<ReturnType<typeof store.workspaces.putWorkspace>>[] = [];
    for (let n = 0; n < 33; n += 1) {
      all.push(await store.workspaces.putWorkspace(draftOf(`w${String(n).padStart(2, '0')}`), context));
    }
    const { agentTasks } = store;
    const deps = { agentTasks, workspacesOf: () => all, setDiffers: () => undefined };
    const agent = await agentOf(store, 'a');
    await agentTasks.want([{ source: 'conform', agentId: 'a', payload: asked(all) }], context);
    await createConformTaskSource(options, deps).ask([agent], { signal });
    const [task] = await agentTasks.list({ limit: 1 }, context);
    expect(task).toMatchObject({ state: 'ended', last: { reason: { code: 'CONFORM_TOO_MANY_WORKSPACES' } } });
  });

  test('its part wants by itself what the set asks for, and refuses other payloads', async () => {
    await using store = createMemoryStore();
    const { workspaces, agentTasks, sessions, signals } = store;
    const deps = {
      workspaces,
      agentTasks,
      sessions,
      signals,
      poolsOf: () => [],
      clock: systemClock,
      logger: silentLogger,
    };
    await using part = (await serverPart.create({ poll: '100ms' }, deps)) as Awaited<
      ReturnType<typeof serverPart.create>
    > &
      AsyncDisposable;
    await agentOf(store, 'without-handler');
    const stop = part.source.onWork!(() => undefined);
    await workspaces.putWorkspace(draftOf('one'), context);
    signals.announce({ kind: 'work', source: 'conform' });
    const { description } = await sessions.agent('without-handler', context);
    await sessions.recordDescription(
      { agentId: 'without-handler', epoch: 1 },
      { ...description, payloadTypes: [ConformSchema.typeName] },
      context,
    );
    await expect.poll(async () => (await agentTasks.list({ limit: 10 }, context)).length).toBe(1);
    const [task] = await agentTasks.list({ limit: 10 }, context);
    expect(anyUnpack(task!.payload, ConformWishSchema)).toMatchObject({ clean: false });
    stop();
    expect(() => part.agentTask!.check(anyPack(EmptySchema, create(EmptySchema)))).toThrow(/allowed: a drover.conform/);
    expect(() => part.agentTask!.check(anyPack(ConformWishSchema, create(ConformWishSchema)))).toThrow(
      /set_digest: ""/,
    );
    expect(() => askedConform({ setDigest: 'x', clean: false, reason: '' })).toThrow(/set_digest: "x"/);
    expect(() => askedConform({ setDigest: '0'.repeat(32), clean: false, reason: 'x'.repeat(1_025) })).toThrow(
      /reason/,
    );
  });

  test.each([{ interval: 'x' }, { interval: '0s' }, { backoff: [] }, { at_once: 0 }, { every: '1h' }])(
    'refuses the configuration %j',
    (config) => {
      expect(conformConfigSchema.safeParse(config).success).toBe(false);
    },
  );

  test('backs off 5 min, 20 min, 1 h and 6 h unless it is told otherwise', () => {
    const { backoff, at_once, interval } = conformConfigSchema.parse({});
    expect([backoff, at_once, interval]).toEqual([[300_000, 1_200_000, 3_600_000, 21_600_000], 4, undefined]);
  });
});
