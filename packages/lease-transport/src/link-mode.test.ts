import { silentLogger } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { expect, test } from 'vitest';
import { LinkMode } from './link-mode.ts';

const options = { firstAnswerMs: 10_000, quickBreakMs: 5_000, quickBreaksMax: 3, pollingMs: 300_000, waitMs: 20_000 };

function mode(): { readonly clock: ManualClock; readonly mode: LinkMode } {
  const clock = new ManualClock();
  return { clock, mode: new LinkMode(options, clock, silentLogger) };
}

test('a stream without an answer is followed by polls, for as long as unary calls are quick', () => {
  const { mode: link } = mode();
  link.streamNotAnswered();
  link.unaryAnswered(30);
  expect(link.pollUntilMs).toBeDefined();
});

test('a server that is slow with unary calls too was busy: streams are not to blame', () => {
  const { mode: link } = mode();
  link.streamNotAnswered();
  link.unaryAnswered(4_000);
  expect(link.pollUntilMs).toBeUndefined();
});

test('a slow unary call says nothing about a way that refuses or breaks streams', () => {
  const { mode: link } = mode();
  link.streamBlocked('the way refuses streams');
  link.unaryAnswered(4_000);
  expect(link.pollUntilMs).toBeDefined();
});

test('polls last for five minutes, and twice as long when the stream after them fails again', () => {
  const { clock, mode: link } = mode();
  link.streamNotAnswered();
  const first = link.pollUntilMs! - clock.monotonicMs();
  clock.advance(first);
  expect(link.pollUntilMs).toBeUndefined();
  link.streamNotAnswered();
  expect(link.pollUntilMs! - clock.monotonicMs()).toBe(2 * first);
});
