import assert from 'node:assert/strict';
import { poolsMax } from '@drover/lease-matching';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context } from './store-samples.ts';

/** What every store of pools does. */
export const poolStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps pools by name without regard to case, with who wrote them',
    async run({ store: { pools } }) {
      const made = await pools.createPool({ name: ' Linux ', condition: 'os == linux', comment: 'all' }, context);
      assert.deepEqual(
        { ...made, changedAtMs: 0 },
        { name: 'Linux', condition: 'os == linux', comment: 'all', changedBy: 'service:compliance', changedAtMs: 0 },
      );
      assert.ok(made.changedAtMs > 0);
      await rejectsWith(pools.createPool({ name: 'LINUX', agents: [] }, context), 'POOL_EXISTS');
      await pools.createPool({ name: 'chosen', agents: ['a "quoted" one', 'b', 'b'] }, context);
      await pools.createPool({ name: 'empty', agents: [] }, context);
      const changed = await pools.replacePool({ name: 'LINUX', agents: ['c'] }, context);
      assert.deepEqual(
        [changed.name, changed.agents, changed.condition, changed.comment],
        ['LINUX', ['c'], undefined, ''],
      );
      const all = await pools.pools({ limit: 10 }, context);
      assert.deepEqual(
        all.map(({ name, agents, condition }) => [name, agents, condition]),
        [
          ['chosen', ['a "quoted" one', 'b'], undefined],
          ['empty', [], undefined],
          ['LINUX', ['c'], undefined],
        ],
      );
      assert.deepEqual(await pools.pools({ after: 'Chosen', limit: 1 }, context), [all[1]]);
      await pools.deletePool('linux', context);
      await rejectsWith(pools.deletePool('linux', context), 'POOL_NOT_FOUND');
      await rejectsWith(pools.replacePool({ name: 'linux', agents: [] }, context), 'POOL_NOT_FOUND');
    },
  },
  {
    name: 'keeps the weights of submitters, exactly, until the pool is replaced without',
    async run({ store: { pools } }) {
      const weights = { 'user:ann': 3, 'user:o"brien=x': 0.01, 'service:ci': 1_000, 'user:ünï': 1.1 };
      const made = await pools.createPool({ name: 'shared', agents: [], weights }, context);
      assert.deepEqual(made.weights, weights);
      assert.deepEqual((await pools.pools({ limit: 10 }, context))[0]?.weights, weights);
      const replaced = await pools.replacePool({ name: 'shared', agents: [], weights: { 'user:ann': 2 } }, context);
      assert.deepEqual(replaced.weights, { 'user:ann': 2 });
      const without = await pools.replacePool({ name: 'shared', agents: [], weights: {} }, context);
      assert.equal('weights' in without, false);
    },
  },
  {
    name: 'takes no pool that a server could not use, and none beyond the bound',
    async run({ store: { pools } }) {
      await rejectsWith(pools.createPool({ name: 'bad', condition: 'os ==' }, context), 'POOL_INVALID');
      await rejectsWith(pools.createPool({ name: 'bad' }, context), 'POOL_INVALID');
      await rejectsWith(pools.createPool({ name: 'bad', agents: [], weights: { ann: 1 } }, context), 'POOL_INVALID');
      const ended = { 'user:a\0': 1 };
      await rejectsWith(pools.createPool({ name: 'bad', agents: [], weights: ended }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(pools.createPool({ name: '', agents: [] }, context), 'POOL_INVALID');
      await rejectsWith(pools.createPool({ name: 'bad\0', agents: [] }, context), 'STORE_INPUT_INVALID');
      const agents = Array.from({ length: 1_001 }, (_, index) => `agent-${index}`);
      await rejectsWith(pools.createPool({ name: 'bad', agents }, context), 'STORE_CALL_TOO_LARGE');
      await rejectsWith(pools.pools({ limit: 0 }, context), 'STORE_INPUT_INVALID');
      const names = Array.from({ length: poolsMax }, (_, index) => `pool-${index}`);
      // The last two at once: only one has room.
      for (const name of names.slice(1)) await pools.createPool({ name, agents: [] }, context);
      const last = await Promise.allSettled(
        ['x', 'y', 'z'].map((name) => pools.createPool({ name, agents: [] }, context)),
      );
      assert.equal(last.filter(({ status }) => status === 'fulfilled').length, 1);
      await rejectsWith(pools.createPool({ name: 'w', agents: [] }, context), 'POOLS_FULL');
    },
  },
];
