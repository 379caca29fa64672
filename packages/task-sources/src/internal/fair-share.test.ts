import type { LeaseRequirements } from '@drover/lease-kit';
import type { WaitingClass } from '@drover/lease-store';
import { describe, expect, test } from 'vitest';
import { FairShare } from './fair-share.ts';

const waiting = (submitter: string, requirements: LeaseRequirements = {}): WaitingClass => ({
  classId: 1,
  requirements,
  payloadType: 'x.Work',
  submitter,
  priorityMax: 0,
  priorityMin: 0,
  ageMsMax: 0,
});

/** Hands out `count` leases one by one to whoever has the lowest tag; the names in order. */
function handOut(turns: FairShare, classes: readonly WaitingClass[], count: number): string {
  let order = '';
  for (let n = 0; n < count; n += 1) {
    turns.waiting(classes);
    const shares = turns.sharesOf(classes)!;
    const tags = shares.map(({ start, step }) => start + step);
    const next = classes[tags.indexOf(Math.min(...tags))]!;
    turns.served(next.requirements, next.submitter);
    order += next.submitter;
  }
  return order;
}

describe('turns between submitters', () => {
  test('alternate', () => {
    expect(handOut(new FairShare(() => 1), [waiting('a'), waiting('b')], 6)).toBe('ababab');
  });

  test('follow the weights of a pool', () => {
    const turns = new FairShare((pool, submitter) => (pool === 'p' && submitter === 'a' ? 3 : 1));
    const order = handOut(turns, [waiting('a', { pool: 'p' }), waiting('b', { pool: 'p' })], 40);
    expect(order.split('a').length - 1).toBe(30);
  });

  test('count cores: whoever takes more at once gets its turn less often', () => {
    const classes = [waiting('a', { resources: { Cores: 4 } }), waiting('b')];
    const order = handOut(new FairShare(() => 1), classes, 50);
    expect(order.split('a').length - 1).toBe(10);
  });

  test('somebody who comes later neither catches up nor waits for what others had before', () => {
    const turns = new FairShare(() => 1);
    handOut(turns, [waiting('a'), waiting('b')], 100);
    expect(handOut(turns, [waiting('a'), waiting('b'), waiting('c')], 6)).toMatch(/^c?([abc])/);
    expect(handOut(turns, [waiting('a'), waiting('b'), waiting('c')], 30).split('c').length - 1).toBe(10);
  });

  test('somebody who was away has saved nothing up', () => {
    const turns = new FairShare(() => 1);
    const both = [waiting('a'), waiting('b')];
    handOut(turns, both, 10);
    for (let n = 0; n < 50; n += 1) {
      turns.waiting([waiting('a')]);
      turns.served({}, 'a');
    }
    expect(handOut(turns, both, 10).split('b').length - 1).toBeLessThanOrEqual(6);
  });

  test('one submitter alone needs none', () => {
    expect(new FairShare(() => 1).sharesOf([waiting('a'), waiting('a', { pool: 'p' })])).toBeUndefined();
  });
});
