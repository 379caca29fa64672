import { DroverError, silentLogger } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import type { AttemptWrite, AttemptWriteResult } from '@drover/lease-store';
import { describe, expect, test } from 'vitest';
import { WriteBatcher, type WriteAnswer } from './write-batcher.ts';
import { work } from './testing/index.ts';

const end = (leaseId: string, rest: Partial<AttemptWrite> = {}): AttemptWrite =>
  ({
    agentId: 'a',
    epoch: 1,
    leaseId,
    attempt: 1,
    kind: 'end',
    outcome: 'completed',
    noRetry: false,
    ...rest,
  }) as AttemptWrite;

/** A store whose calls a test answers one by one. */
function setUp(pendingWritesMax = 100) {
  const clock = new ManualClock();
  const calls: {
    readonly writes: readonly AttemptWrite[];
    readonly answer: PromiseWithResolvers<readonly AttemptWriteResult[]>;
  }[] = [];
  const record = (writes: readonly AttemptWrite[]) => {
    const answer = Promise.withResolvers<readonly AttemptWriteResult[]>();
    calls.push({ writes, answer });
    return answer.promise;
  };
  const batcher = new WriteBatcher(
    { pendingWritesMax, retryMinMs: 50, retryMaxMs: 1_000, principal: { kind: 'service', id: 's' } },
    { attempts: { record }, clock, random: () => 0.5, logger: silentLogger },
  );
  const answers = new Map<string, WriteAnswer>();
  const add = (...writes: AttemptWrite[]) =>
    batcher.add({ writes, done: (answer) => void answers.set(writes[0]!.leaseId, answer) });
  const persist = (call: (typeof calls)[number]) =>
    call.answer.resolve(call.writes.map(() => ({ result: 'persisted' as const, final: true })));
  return { batcher, calls, answers, add, persist, clock };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('the write batcher', () => {
  test('puts what arrives during a transaction into the next one', async () => {
    const { calls, answers, add, persist, batcher } = setUp();
    add(end('1'));
    await turn();
    add(end('2'));
    add(end('3'), end('4'));
    expect(calls.map(({ writes }) => writes.length)).toEqual([1]);
    persist(calls[0]!);
    await turn();
    expect(calls.map(({ writes }) => writes.length)).toEqual([1, 3]);
    expect([...answers.keys()]).toEqual(['1']);
    persist(calls[1]!);
    await batcher.idle();
    expect(answers.get('3')).toHaveLength(2);
    expect(batcher.pending).toBe(0);
  });

  test('tries again, the same writes, when the store is away', async () => {
    const { calls, answers, add, persist, clock, batcher } = setUp();
    add(end('1'));
    await turn();
    calls[0]!.answer.reject(new DroverError({ code: 'STORE_UNAVAILABLE', advice: 'unavailable', message: 'away' }));
    await turn();
    expect(calls).toHaveLength(1);
    clock.advance(50);
    await turn();
    expect(calls[1]!.writes).toEqual(calls[0]!.writes);
    persist(calls[1]!);
    await batcher.idle();
    expect(answers.get('1')).toMatchObject([{ result: 'persisted' }]);
  });

  test("an error of the store itself that stays is one entry's, in the end, and holds up no other", async () => {
    const { calls, answers, add, persist, clock, batcher } = setUp();
    const broken = () => new DroverError({ code: 'STORE_INTERNAL', advice: 'internal', message: 'bug' });
    add(end('bad'));
    add(end('good'));
    for (let n = 0; answers.size < 2; n += 1) {
      if (n > 50) throw new Error('it is tried for ever');
      await turn();
      const call = calls.at(-1)!;
      if (call.writes.some(({ leaseId }) => leaseId === 'bad')) call.answer.reject(broken());
      else persist(call);
      await turn();
      clock.advance(1_000);
    }
    await batcher.idle();
    expect(answers.get('good')).toMatchObject([{ result: 'persisted' }]);
    expect(answers.get('bad')).toBe('unknown');
  });

  test('one write that the store never takes holds up no other, and ends without its output', async () => {
    const { calls, answers, add, persist, batcher } = setUp();
    const refuse = () => new DroverError({ code: 'PAYLOAD_TOO_LARGE', advice: 'fix-input', message: 'too large' });
    add(end('0'));
    await turn();
    add(end('1'));
    add(end('2', { output: work() }));
    persist(calls[0]!);
    await turn();
    for (let at = 1; at < 20 && batcher.pending > 0; at += 1) {
      const call = calls[at];
      if (call === undefined) break;
      if (call.writes.some((write) => write.kind === 'end' && write.output !== undefined)) call.answer.reject(refuse());
      else persist(call);
      await turn();
    }
    expect(answers.get('1')).toMatchObject([{ result: 'persisted' }]);
    expect(answers.get('2')).toMatchObject([{ result: 'persisted' }]);
    expect(calls.at(-1)!.writes).toMatchObject([
      { leaseId: '2', outcome: 'failed', reason: { code: 'OUTPUT_NOT_STORABLE' }, noRetry: true },
    ]);
  });

  test('holds readers back beyond its bound, and says that nobody knows when it is stopped', async () => {
    const { calls, answers, add, batcher } = setUp(2);
    expect(batcher.room()).toBeUndefined();
    add(end('1'), end('2'), end('3'));
    let room = false;
    void batcher.room()!.then(() => (room = true));
    await turn();
    expect(room).toBe(false);
    const stopped = batcher.stop();
    calls[0]!.answer.reject(new Error('away'));
    await stopped;
    expect([room, answers.get('1')]).toEqual([true, 'unknown']);
    add(end('4'));
    expect(answers.get('4')).toBe('unknown');
  });
});
