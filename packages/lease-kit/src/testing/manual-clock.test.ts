import { expect, test } from 'vitest';
import { ManualClock } from './manual-clock.ts';

test('calls run in the order of their due times, those scheduled on the way included', () => {
  const clock = new ManualClock(100);
  const ran: string[] = [];
  clock.schedule(20, () => ran.push(`b at ${clock.monotonicMs()}`));
  clock.schedule(10, () => {
    ran.push(`a at ${clock.monotonicMs()}`);
    clock.schedule(5, () => ran.push(`c at ${clock.monotonicMs()}`));
  });
  clock.advance(20);
  expect(ran).toEqual(['a at 110', 'c at 115', 'b at 120']);
  expect([clock.monotonicMs(), clock.pendingCalls]).toEqual([120, 0]);
});

test('a cancelled call never runs', () => {
  const clock = new ManualClock();
  const call = clock.schedule(1, () => expect.unreachable());
  call.cancel();
  call.cancel();
  clock.advance(10);
});
