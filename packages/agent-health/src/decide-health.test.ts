import { expect, test } from 'vitest';
import { badEnd, nowMs } from './bad-ends.test.fixture.ts';
import { decideHealth, type AgentHealth, type HealthInput } from './decide-health.ts';
import { defaultHealthRules as rules } from './health-rules.ts';
import { judgeAgents } from './judge-agents.ts';
import { quarantineCaps, wholeFleetPool } from './quarantine-cap.ts';

const suspicion = judgeAgents(
  { nowMs, ends: ['1', '2', '3'].map((id) => badEnd('a', id, { succeededOn: 'b' })), successes: [] },
  rules,
).get('a');
const decide = (health: AgentHealth | undefined, changes: Partial<HealthInput> = {}) =>
  decideHealth({ health, suspicion: undefined, canary: undefined, mayTry: true, nowMs, ...changes }, rules);
const decided = (...given: Parameters<typeof decide>): AgentHealth => {
  const next = decide(...given);
  if (next === undefined || next === 'healthy') throw new Error(`decided ${String(next)}`);
  return next;
};
const failed = { result: 'failed', message: 'exit code 1' } as const;
const succeeded = { result: 'succeeded', message: '' } as const;

test('suspected, tried, quarantined, tried again later and later, and cleared by a canary', () => {
  expect(decide(undefined)).toBeUndefined();
  const first = decided(undefined, { suspicion });
  expect(first).toMatchObject({ state: 'suspected', isWithheld: true, canaryDueMs: nowMs, rounds: 0 });
  expect(decide(first, { mayTry: false })).toBeUndefined();
  let health = decided(first);
  expect(health).toMatchObject({ canaryWantedMs: nowMs });
  expect(decide(health)).toBeUndefined();
  for (const [round, waitMs] of [600_000, 3_600_000, 21_600_000, 21_600_000].entries()) {
    health = decided(health, { canary: failed });
    expect(health).toMatchObject({ state: 'quarantined', isWithheld: true, rounds: round + 1 });
    expect(health.canaryDueMs).toBe(nowMs + waitMs);
    expect(health.reason).toMatch(/succeed elsewhere .*; its canary failed: exit code 1$/);
    expect(health.reason.match(/canary/g)).toHaveLength(1);
    expect(decide(health, { nowMs: nowMs + waitMs - 1 })).toBeUndefined();
    health = decided(health, { nowMs: nowMs + waitMs });
  }
  health = decided(health, { canary: succeeded });
  expect(health).toMatchObject({ state: 'cleared', isWithheld: false, clearedAtMs: nowMs, clearedBy: 'canary' });
  expect(decide(health, { nowMs: nowMs + rules.relapseMs + 1 })).toBeUndefined();
  expect(decide(health, { nowMs: nowMs + rules.windowMs + 1 })).toBe('healthy');
});

test('who passes its canary and soon fails again is quarantined at once, and ever longer', () => {
  const cleared = decided(decided(decided(undefined, { suspicion })), { canary: succeeded });
  const relapsed = decided(cleared, { suspicion, nowMs: nowMs + 60_000 });
  expect(relapsed).toMatchObject({ state: 'quarantined', rounds: 1, canaryDueMs: nowMs + 660_000 });
  expect(relapsed.reason).toMatch(/^passed its canary and then failed 3 leases/);
  const again = decided(decided(relapsed, { nowMs: nowMs + 660_000 }), { canary: succeeded, nowMs: nowMs + 700_000 });
  expect(decided(again, { suspicion, nowMs: nowMs + 800_000 })).toMatchObject({ state: 'quarantined', rounds: 2 });
  const late = nowMs + rules.relapseMs + 1;
  expect(decided(cleared, { suspicion, nowMs: late })).toMatchObject({ state: 'suspected', rounds: 0 });
  // An operator may have repaired something; the first canary tells.
  expect(decided({ ...cleared, clearedBy: 'user:ann' }, { suspicion })).toMatchObject({ state: 'suspected' });
});

test('a canary that says nothing of the machine is tried again', () => {
  const wanted = decided(decided(undefined, { suspicion }));
  const again = decided(wanted, { canary: { result: 'undecided', message: 'cancelled' } });
  expect(again).toMatchObject({ state: 'suspected', canaryDueMs: nowMs + rules.canaryAgainMs });
  expect(again.canaryWantedMs).toBeUndefined();
});

test('who is at work because of a cap asks for its place each time, and is forgotten when nothing speaks against it', () => {
  const atWork: AgentHealth = { ...decided(undefined, { suspicion }), isWithheld: false };
  expect(decide(atWork, { suspicion })).toMatchObject({ isWithheld: true, sinceMs: atWork.sinceMs });
  expect(decide(atWork)).toBe('healthy');
  expect(decide({ ...atWork, clearedAtMs: nowMs - 1 })).toMatchObject({ state: 'cleared', isWithheld: false });
});

test('caps: a share is one agent at least, never the whole pool, and a lone agent is never withheld', () => {
  const members = new Map([
    ['big', 40],
    ['small', 3],
    ['mine', 1],
    [wholeFleetPool, 43],
  ]);
  const capsOf = (pools: string[], max: Parameters<typeof quarantineCaps>[2]) =>
    Object.fromEntries(
      quarantineCaps(pools, (pool) => members.get(pool) ?? 0, max).map(({ pool, max: most }) => [pool, most]),
    );
  expect(capsOf(['big', 'small', 'mine'], { kind: 'share', share: 0.25 })).toEqual({ big: 10, small: 1, '*': 10 });
  expect(capsOf(['big', 'small'], { kind: 'count', count: 5 })).toEqual({ big: 5, small: 2, '*': 5 });
  expect(capsOf(['big'], { kind: 'share', share: 0 })).toEqual({ big: 0, '*': 0 });
  expect(quarantineCaps([], () => 1, { kind: 'share', share: 0.5 })).toEqual([{ pool: '*', max: 0 }]);
});
