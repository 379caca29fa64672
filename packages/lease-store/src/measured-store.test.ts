import type { Meter } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { createMemoryStore } from './create-memory-store.ts';
import { measuredStore } from './measured-store.ts';

/** A meter that remembers what was recorded. */
function rememberingMeter() {
  const seen: unknown[] = [];
  const nothing = () => undefined;
  const meter: Meter = {
    createCounter: () => ({ add: nothing }),
    createHistogram: () => ({ record: (_seconds, labels) => seen.push(labels) }),
    createObservableGauge: () => ({ addCallback: nothing }),
  };
  return { meter, seen };
}

const context = { principal: { kind: 'user', id: 'ann' } } as const;

describe('a measured store', () => {
  test('answers as the store does, and tells refusals from failures', async () => {
    const { meter, seen } = rememberingMeter();
    const inner = createMemoryStore();
    await using store = measuredStore(
      { ...inner, sessions: { ...inner.sessions, agents: () => Promise.reject(new Error('away')) } },
      meter,
    );
    expect(await store.pools.createPool({ name: 'a', agents: [] }, context)).toMatchObject({ name: 'a' });
    await expect(store.pools.deletePool('b', context)).rejects.toMatchObject({ code: 'POOL_NOT_FOUND' });
    await expect(store.sessions.agents({ limit: 1 }, context)).rejects.toThrow('away');
    expect(seen).toEqual([
      { call: 'pools.createPool', result: 'ok' },
      { call: 'pools.deletePool', result: 'ok' },
      { call: 'sessions.agents', result: 'error' },
    ]);
  });
});
