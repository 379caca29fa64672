import { create } from '@bufbuild/protobuf';
import { AgentState, ListAgentsRequestSchema, type ListAgentsRequest } from '@drover/control-api';
import { openPolicy } from '@drover/fleet-policy';
import { definePools } from '@drover/lease-matching';
import { AgentDescriptionSchema } from '@drover/lease-protocol';
import type { AgentRecord } from '@drover/lease-store';
import { expect, test } from 'vitest';
import { listAgents } from './list-agents.ts';

const context = { principal: { kind: 'user', id: 'ann' } } as const;

/** Agents a0, a1, …: each says whether it is busy, and every third is not there. */
const fleet = (count: number): AgentRecord[] =>
  Array.from({ length: count }, (_, n) => ({
    agentId: `a${String(n).padStart(5, '0')}`,
    description: create(AgentDescriptionSchema, { properties: [{ key: 'rack', value: String(n % 4) }] }),
    condition: n % 2 === 0 ? 'ready' : 'busy',
    epoch: 1,
    leases: 0,
    resourcesUsed: {},
    ...(n % 3 === 2 ? {} : { session: { serverId: 's', openedAtMs: 0 } }),
  })) as unknown as AgentRecord[];

/** Every page of what is asked for, and how many pages of the store each took. */
async function pagesOf(
  agents: readonly AgentRecord[],
  request: Partial<ListAgentsRequest>,
  sees: (agent: AgentRecord) => boolean = () => true,
) {
  const pages: string[][] = [];
  const reads: number[] = [];
  let pageToken = '';
  do {
    let read = 0;
    const deps = {
      sessions: {
        agents: async ({ after = '', limit }: { readonly after?: string; readonly limit: number }) => {
          read += 1;
          return agents.filter(({ agentId }) => agentId > after).slice(0, limit);
        },
      },
      agentSettings: { settingsOf: async () => [] },
      policy: { ...openPolicy, pools: definePools([{ name: 'Rack One', agents: [], condition: 'rack == "1"' }]) },
      sees,
    };
    const message = create(ListAgentsRequestSchema, { ...request, pageToken } as object);
    const answer = await listAgents(message, deps, context);
    pages.push(answer.agents.map(({ agentId }) => agentId));
    reads.push(read);
    pageToken = answer.nextPageToken;
  } while (pageToken !== '');
  return { pages, reads };
}

const ids = (...numbers: number[]): string[] => numbers.map((n) => `a${String(n).padStart(5, '0')}`);

test('without a filter, pages follow one another and the last one says so', async () => {
  expect((await pagesOf(fleet(5), { pageSize: 2 })).pages).toEqual([ids(0, 1), ids(2, 3), ids(4)]);
  expect((await pagesOf([], {})).pages).toEqual([[]]);
});

test('by states: any of those that are named', async () => {
  const of = async (...states: AgentState[]) => (await pagesOf(fleet(9), { states })).pages.flat();
  expect(await of(AgentState.OK)).toEqual(ids(0, 4, 6));
  expect(await of(AgentState.OFFLINE)).toEqual(ids(2, 5, 8));
  expect(await of(AgentState.OFFLINE, AgentState.BUSY)).toEqual(ids(1, 2, 3, 5, 7, 8));
  expect(await of(AgentState.UNHEALTHY)).toEqual([]);
});

test('by pool, whatever the case of its name, together with states, and for what the caller may see', async () => {
  const pool = 'rack one';
  expect((await pagesOf(fleet(14), { pool })).pages).toEqual([ids(1, 5, 9, 13)]);
  expect((await pagesOf(fleet(14), { pool, states: [AgentState.OFFLINE] })).pages).toEqual([ids(5)]);
  expect((await pagesOf(fleet(14), { pool, pageSize: 3 })).pages).toEqual([ids(1, 5, 9), ids(13)]);
  expect((await pagesOf(fleet(14), { pool: 'rack two' })).pages).toEqual([[]]);
  expect((await pagesOf(fleet(14), { pool }, ({ agentId }) => agentId > 'a00005')).pages).toEqual([ids(9, 13)]);
});

test('a filter that few agents pass looks through a bounded part of the fleet at a time, and loses none', async () => {
  const agents = fleet(41_000);
  const { pages, reads } = await pagesOf(agents, { states: [AgentState.OK] }, ({ agentId }) => agentId === 'a40000');
  expect(pages).toEqual([[], [], ids(40_000)]);
  expect(reads.map((count) => count <= 20)).toEqual([true, true, true]);
});
