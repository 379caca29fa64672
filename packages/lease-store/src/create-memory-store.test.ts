import { ManualClock } from '@drover/lease-kit/testing';
import { describe, test } from 'vitest';
import { createMemoryStore } from './create-memory-store.ts';
import { storeCases } from './testing/index.ts';

describe('the memory store', () => {
  test.each(storeCases)('$name', async ({ run }) => {
    const clock = new ManualClock(1_800_000_000_000);
    await using store = createMemoryStore({ clock });
    await run({ store, elapse: async (ms) => clock.advance(ms) });
  });
});
