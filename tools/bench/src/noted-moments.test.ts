import { expect, test } from 'vitest';
import { NotedMoments } from './noted-moments.ts';

test('whoever waits for a count is told when it is reached, and at once afterwards', async () => {
  const moments = new NotedMoments();
  let told = false;
  const reached = moments.reached(2).then(() => (told = true));
  moments.add('a', false);
  await Promise.resolve();
  expect(told).toBe(false);
  moments.add('b', false);
  await reached;
  await moments.reached(1);
  expect(moments.count).toBe(2);
});

test('times are kept only where they are wanted, and handed out once', () => {
  const moments = new NotedMoments();
  moments.add('a', true, 5);
  moments.add('b', false);
  moments.add('c', true, 7);
  expect(moments.takeTimes()).toEqual([
    ['a', 5],
    ['c', 7],
  ]);
  expect(moments.takeTimes()).toEqual([]);
});
