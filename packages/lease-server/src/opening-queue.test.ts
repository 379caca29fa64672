import { expect, test } from 'vitest';
import { OpeningQueue } from './opening-queue.ts';

const never = new AbortController().signal;
/** Long enough for every promise that could resolve. */
const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

test('as many as allowed are inside, and the others follow in the order in which they came', async () => {
  const queue = new OpeningQueue(2);
  const inside: string[] = [];
  const leaves = new Map<string, () => void>();
  for (const name of ['a', 'b', 'c', 'd']) {
    void queue.enter(never).then((leave) => {
      inside.push(name);
      leaves.set(name, leave);
    });
  }
  await settled();
  expect(inside).toEqual(['a', 'b']);
  expect(queue.waiting).toBe(2);
  leaves.get('b')!();
  await settled();
  expect(inside).toEqual(['a', 'b', 'c']);
  leaves.get('a')!();
  leaves.get('c')!();
  await settled();
  expect(inside).toEqual(['a', 'b', 'c', 'd']);
  leaves.get('d')!();
  await queue.enter(never);
  await queue.enter(never);
  expect(queue.waiting).toBe(0);
});

test('who gives up leaves its place to the next', async () => {
  const queue = new OpeningQueue(1);
  const leave = await queue.enter(never);
  const impatient = new AbortController();
  const given = queue.enter(impatient.signal);
  const next = queue.enter(never);
  impatient.abort(new Error('gone'));
  await expect(given).rejects.toThrow('gone');
  leave();
  (await next)();
  await expect(queue.enter(AbortSignal.abort(new Error('too late')))).rejects.toThrow('too late');
});
