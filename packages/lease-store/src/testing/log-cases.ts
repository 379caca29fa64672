import assert from 'node:assert/strict';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import { boundSample, endOf, rejectsWith, sampleContext as context, sampleSession } from './store-samples.ts';

const bytes = (text: string) => new TextEncoder().encode(text);

/** What every log store does. */
export const logStoreCases: readonly StoreCase[] = [
  {
    name: 'adds bytes where they belong, each once',
    async run({ store }) {
      const attempt = await boundSample(store, await sampleSession(store, 'agent-1'));
      const append = async (offset: number, text: string, complete = false) => {
        const entry = { ...attempt, log: 'out', offset, data: bytes(text), complete };
        return (await store.logs.append(entry, context)).committedBytes;
      };
      const read = async (offset: number, limitBytes = 100) => {
        const part = await store.logs.read({ ...attempt, log: 'out' }, { offset, limitBytes }, context);
        return [new TextDecoder().decode(part.data), part.sizeBytes, part.complete];
      };
      assert.deepEqual(await read(0), ['', 0, false]);
      assert.equal(await append(3, 'too early'), 0);
      assert.equal(await append(0, 'hello '), 6);
      assert.equal(await append(0, 'hello '), 6);
      assert.equal(await append(4, 'o wor'), 9);
      assert.equal(await append(9, ''), 9);
      assert.equal(await append(100, 'beyond', true), 9);
      assert.deepEqual(await read(0), ['hello wor', 9, false]);
      assert.equal(await append(9, 'ld', true), 11);
      assert.equal(await append(0, 'hello '), 11);
      assert.deepEqual(await read(0), ['hello world', 11, true]);
      assert.deepEqual(await read(4, 4), ['o wo', 11, true]);
      assert.deepEqual(await read(11), ['', 11, true]);
      assert.deepEqual(await read(500), ['', 11, true]);
      // The end of the work takes nothing away.
      await store.attempts.record([endOf(attempt)], context);
      assert.deepEqual(await read(6), ['world', 11, true]);
    },
  },
  {
    name: 'keeps logs apart and lists them by name',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      for (const log of ['b "q" \\', 'a']) {
        await store.logs.append({ ...attempt, log, offset: 0, data: bytes(log), complete: log === 'a' }, context);
      }
      assert.deepEqual(await store.logs.list(attempt, context), [
        { log: 'a', sizeBytes: 1, complete: true },
        { log: 'b "q" \\', sizeBytes: 7, complete: false },
      ]);
      assert.deepEqual(await store.logs.list({ ...attempt, attempt: 2 }, context), []);
    },
  },
  {
    name: 'keeps any bytes, over many appends',
    async run({ store }) {
      const attempt = await boundSample(store, await sampleSession(store, 'agent-1'));
      const whole = Uint8Array.from({ length: 100_000 }, (_, index) => (index * 7) % 256);
      for (let offset = 0; offset < whole.length; offset += 12_345) {
        const data = whole.subarray(offset, offset + 12_345);
        await store.logs.append({ ...attempt, log: 'out', offset, data, complete: false }, context);
      }
      for (const [offset, limitBytes] of [
        [0, 200_000],
        [12_344, 2],
        [12_345, 12_345],
        [50_001, 33_333],
        [99_999, 10],
      ] as const) {
        const { data } = await store.logs.read({ ...attempt, log: 'out' }, { offset, limitBytes }, context);
        assert.equal(Buffer.compare(data, whole.subarray(offset, offset + limitBytes)), 0);
      }
    },
  },
  {
    name: 'takes bytes only from the session that holds the attempt',
    async run({ store }) {
      const agent = await sampleSession(store, 'agent-1');
      const attempt = await boundSample(store, agent);
      const entry = { ...attempt, log: 'out', offset: 0, data: bytes('x'), complete: false };
      await rejectsWith(store.logs.append({ ...entry, epoch: entry.epoch + 1 }, context), 'SESSION_FENCED');
      await rejectsWith(store.logs.append({ ...entry, agentId: 'agent-2' }, context), 'SESSION_FENCED');
      await rejectsWith(store.logs.append({ ...entry, attempt: 2 }, context), 'SESSION_FENCED');
      await store.attempts.record([endOf(attempt)], context);
      await rejectsWith(store.logs.append(entry, context), 'SESSION_FENCED');
      assert.deepEqual(await store.logs.list(attempt, context), []);
    },
  },
  {
    name: 'bounds logs',
    async run({ store }) {
      const attempt = await boundSample(store, await sampleSession(store, 'agent-1'));
      const entry = { ...attempt, log: 'out', offset: 0, data: bytes('x'), complete: false };
      const large = new Uint8Array(storeLimits.logAppendBytesMax + 1);
      await rejectsWith(store.logs.append({ ...entry, data: large }, context), 'STORE_CALL_TOO_LARGE');
      await rejectsWith(store.logs.append({ ...entry, offset: storeLimits.logBytesMax }, context), 'LOG_FULL');
      await rejectsWith(store.logs.append({ ...entry, log: 'a\0' }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(store.logs.append({ ...entry, leaseId: 'nonsense' }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(store.logs.append({ ...entry, offset: -1 }, context), 'STORE_INPUT_INVALID');
      for (let index = 0; index < storeLimits.logsPerAttemptMax; index += 1) {
        await store.logs.append({ ...entry, log: `log ${index}` }, context);
      }
      await rejectsWith(store.logs.append({ ...entry, log: 'one more' }, context), 'LOG_FULL');
      const again = await store.logs.append({ ...entry, log: 'log 0', offset: 1, data: bytes('y') }, context);
      assert.equal(again.committedBytes, 2);
    },
  },
];
