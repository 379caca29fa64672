import { poolKey, poolsMax } from '@drover/lease-matching';
import { principalName } from '@drover/lease-kit';
import { checkPage, checkPoolDraft, storedPool } from '../check-fleet-input.ts';
import type { PoolDraft, PoolRecord, PoolStore } from '../pool-store.ts';
import type { StoreContext } from '../store-context.ts';
import { poolExists, poolNotFound, poolsFull } from '../store-errors.ts';
import type { MemoryData } from './memory-data.ts';

/** The pools of a memory store. */
export function memoryPoolStore(data: MemoryData): PoolStore {
  const pools = new Map<string, PoolRecord>();
  const put = (draft: PoolDraft, context: StoreContext): PoolRecord => {
    const { key, ...pool } = storedPool(draft);
    const record = { ...pool, changedBy: principalName(context.principal), changedAtMs: data.clock.wallMs() };
    pools.set(key, record);
    return record;
  };
  return {
    pools: async (page, context) => {
      data.enter(context);
      checkPage(page);
      const after = poolKey(page.after ?? '');
      return [...pools]
        .filter(([key]) => key > after)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, page.limit)
        .map(([, record]) => record);
    },
    createPool: async (draft, context) => {
      data.enter(context);
      checkPoolDraft(draft);
      if (pools.has(poolKey(draft.name))) throw poolExists(draft.name);
      if (pools.size >= poolsMax) throw poolsFull(poolsMax);
      return put(draft, context);
    },
    replacePool: async (draft, context) => {
      data.enter(context);
      checkPoolDraft(draft);
      if (!pools.has(poolKey(draft.name))) throw poolNotFound(draft.name);
      return put(draft, context);
    },
    deletePool: async (name, context) => {
      data.enter(context);
      if (!pools.delete(poolKey(name))) throw poolNotFound(name);
    },
  };
}
