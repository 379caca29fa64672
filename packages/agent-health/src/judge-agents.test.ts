import { expect, test } from 'vitest';
import { badEnd, nowMs } from './bad-ends.test.fixture.ts';
import { evidenceInWords } from './evidence-in-words.ts';
import { defaultHealthRules as rules } from './health-rules.ts';
import { judgeAgents } from './judge-agents.ts';
import type { BadEnd, KindSuccesses } from './lease-facts.ts';

const judge = (ends: readonly BadEnd[], successes: readonly KindSuccesses[] = []) =>
  judgeAgents({ nowMs, ends, successes }, rules);
const others = [{ kind: 'job', agentId: 'b', leases: 10 }];
const named = ['1', '2', '3', '4', '5', '6', '7'];

test('leases that were tried on one agent alone are evidence when others of their kind succeed elsewhere', () => {
  const ends = named.map((leaseId) => badEnd('a', leaseId));
  expect(judge(ends, others).get('a')).toMatchObject({ failed: 7, ended: 7, othersEnded: 10, isEnough: true });
  expect(judge(ends.slice(0, 4), others).get('a')?.isEnough).toBe(false);
  expect(judge(ends, [{ kind: 'job', agentId: 'b', leases: 2 }]).size).toBe(0);
  expect(judge(ends, [{ kind: 'another', agentId: 'b', leases: 10 }]).size).toBe(0);
  expect(judge(ends, [{ kind: 'job', agentId: 'a', leases: 10 }]).size).toBe(0);
});

test('who fails little of much is not suspected', () => {
  const ends = named.map((leaseId) => badEnd('a', leaseId, { succeededOn: 'b' }));
  expect(judge(ends, [...others, { kind: 'job', agentId: 'a', leases: 20 }]).get('a')?.isEnough).toBe(true);
  expect(judge(ends, [...others, { kind: 'job', agentId: 'a', leases: 22 }]).get('a')?.isEnough).toBe(false);
});

test('an operator’s wish, a limit that includes waiting, and what succeeded on the agent itself count nothing', () => {
  for (const code of ['AGENT_BUSY', 'AGENT_SHUTTING_DOWN', 'LEASE_TIMED_OUT']) {
    expect(judge(named.map((id) => badEnd('a', id, { succeededOn: 'b', code, outcome: 'lost' }))).size).toBe(0);
  }
  expect(judge(named.map((id) => badEnd('a', id, { succeededOn: 'a' }))).size).toBe(0);
});

test('what an agent lost at one moment counts as one lease', () => {
  const lost = named.map((id, n) => badEnd('a', id, { succeededOn: 'b', outcome: 'lost', endedAtMs: nowMs - n }));
  expect(judge(lost).get('a')).toMatchObject({ failed: 1, isEnough: false });
});

test('a lease that two agents failed and a third one did speaks half against each', () => {
  const ends = [badEnd('a', '1', { succeededOn: 'c' }), badEnd('b', '1', { succeededOn: 'c' })];
  expect(judge(ends).get('a')!.weight).toBeCloseTo(0.5, 2);
});

test('what happened before an agent was cleared does not count against it', () => {
  const ends = named.map((leaseId) => badEnd('a', leaseId, { succeededOn: 'b' }));
  expect(judgeAgents({ nowMs, ends, successes: others }, rules, () => nowMs - 500).size).toBe(0);
});

test('says in words what speaks against an agent', () => {
  const ends = named.slice(0, 4).map((id, n) =>
    badEnd('a', id, {
      name: `compile-${id}`,
      succeededOn: 'b',
      endedAtMs: nowMs - n * 180_000,
      ...(n === 0 ? { outcome: 'failed', code: 'INPUT_FAILED' } : {}),
    }),
  );
  expect(evidenceInWords(judge(ends, others).get('a')!)).toBe(
    'failed 4 leases in 9 min that succeed elsewhere (4 of 4 here, 0 of 10 elsewhere): ' +
      'compile-1 (INPUT_FAILED; succeeded on b), compile-2 (its work failed; succeeded on b), ' +
      'compile-3 (its work failed; succeeded on b), and 1 more',
  );
});
