import assert from 'node:assert/strict';
import type { StoreSignal } from '../store-signals.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context, sampleEntry } from './store-samples.ts';

/** What the signals and the life of every store do. */
export const storeLifeCases: readonly StoreCase[] = [
  {
    name: 'tells its own listeners what is announced, not within the announcement, until they stop',
    async run({ store }) {
      const heard: StoreSignal[] = [];
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const stopFirst = store.signals.listen((signal) => heard.push(signal));
      const stopSecond = store.signals.listen(() => resolve(undefined));
      store.signals.announce({ kind: 'work', source: 'job' });
      assert.deepEqual(heard, []);
      await promise;
      assert.deepEqual(heard, [{ kind: 'work', source: 'job' }]);
      stopFirst();
      stopSecond();
      store.signals.announce({ kind: 'log', leaseId: 'x' });
      await store.check();
      assert.equal(heard.length, 1);
    },
  },
  {
    name: 'answers a check, and refuses calls once it is closed',
    async run({ store }) {
      await store.check();
      await store.close();
      await store.close();
      await rejectsWith(store.queue.enqueue([sampleEntry()], context), 'STORE_CLOSED');
      await rejectsWith(store.check(), 'STORE_CLOSED');
      store.signals.announce({ kind: 'work', source: 'job' });
      store.signals.listen(() => undefined)();
    },
  },
];
