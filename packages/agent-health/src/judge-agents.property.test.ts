import fc from 'fast-check';
import { expect, test } from 'vitest';
import { badEnd, nowMs } from './bad-ends.test.fixture.ts';
import { defaultHealthRules as rules, evidenceMax } from './health-rules.ts';
import { judgeAgents } from './judge-agents.ts';
import type { BadEnd, KindSuccesses } from './lease-facts.ts';

const agents = ['a', 'b', 'c', 'd'];
const agent = fc.constantFrom(...agents);
const age = fc.integer({ min: 0, max: rules.windowMs * 2 });
const kind = fc.constantFrom('job-1', 'job-2', 'job-3');
const outcome = fc.constantFrom<BadEnd['outcome']>('failed', 'timed-out', 'lost', 'completed');
const anyEnd = fc
  .record({ agentId: agent, lease: fc.integer({ min: 0, max: 40 }), kind, age, outcome, elsewhere: fc.option(agent) })
  .map(({ agentId, lease, kind: of, age: ageMs, outcome: how, elsewhere }) =>
    badEnd(agentId, `${of}/${lease}`, {
      kind: of,
      endedAtMs: nowMs - ageMs,
      outcome: how,
      ...(elsewhere === null ? {} : { succeededOn: elsewhere }),
    }),
  );
const anySuccesses: fc.Arbitrary<KindSuccesses[]> = fc.array(
  fc.record({ kind, agentId: agent, leases: fc.integer({ min: 1, max: 200 }) }),
  { maxLength: 12 },
);

test('jobs that fail wherever they are tried speak against nobody, however many other jobs succeed', () => {
  const lease = fc.record({ attempts: fc.array(fc.record({ agentId: agent, age }), { minLength: 1, maxLength: 5 }) });
  fc.assert(
    fc.property(fc.array(lease, { maxLength: 60 }), anySuccesses, (leases, successes) => {
      const ends = leases.flatMap(({ attempts }, n) =>
        attempts.map(({ agentId, age: ageMs }, attempt) =>
          badEnd(agentId, `bad/${n}`, { kind: 'bad', attempt: attempt + 1, endedAtMs: nowMs - ageMs }),
        ),
      );
      expect([...judgeAgents({ nowMs, ends, successes }, rules)]).toEqual([]);
    }),
  );
});

test('bad leases in a good job, each tried on two agents, speak against nobody', () => {
  const tried = fc.tuple(fc.constantFrom('a', 'b'), fc.constantFrom('c', 'd'), age);
  fc.assert(
    fc.property(fc.array(tried, { maxLength: 40 }), anySuccesses, (leases, successes) => {
      const ends = leases.flatMap(([first, second, ageMs], n) => [
        badEnd(first, `job-1/${n}`, { kind: 'job-1', endedAtMs: nowMs - ageMs }),
        badEnd(second, `job-1/${n}`, { kind: 'job-1', endedAtMs: nowMs - ageMs, attempt: 2 }),
      ]);
      expect([...judgeAgents({ nowMs, ends, successes }, { ...rules, windowMs: Infinity })]).toEqual([]);
    }),
  );
});

test('an agent that fails what another one does is suspected after three leases of late, and not after two', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 400_000 }), (count, ageMs) => {
      const ends = Array.from({ length: count }, (_, n) =>
        badEnd('a', `job/${n}`, { succeededOn: 'b', endedAtMs: nowMs - Math.floor((ageMs * n) / count) }),
      );
      const successes = [{ kind: 'job', agentId: 'b', leases: count + 5 }];
      expect(judgeAgents({ nowMs, ends, successes }, rules).get('a')?.isEnough).toBe(count >= 3);
    }),
  );
});

test('where everybody fails a little, nobody is suspected', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 40 }), fc.integer({ min: 10, max: 20 }), (flaky, times) => {
      const ends = agents.flatMap((agentId, index) =>
        Array.from({ length: flaky }, (_, n) =>
          badEnd(agentId, `${agentId}/${n}`, { succeededOn: agents[(index + 1) % agents.length]! }),
        ),
      );
      const successes = agents.map((agentId) => ({ kind: 'job', agentId, leases: flaky * times }));
      const found = [...judgeAgents({ nowMs, ends, successes }, rules).values()];
      expect(found.map(({ weight, isEnough }) => [weight > rules.threshold, isEnough])).toEqual(
        agents.map(() => [true, false]),
      );
    }),
  );
});

test('evidence only becomes lighter as time passes, and is nothing after the window', () => {
  fc.assert(
    fc.property(fc.array(anyEnd, { maxLength: 60 }), anySuccesses, fc.nat(3_600_000), (ends, successes, passed) => {
      const weightOf = (atMs: number, agentId: string): number =>
        judgeAgents({ nowMs: atMs, ends, successes }, { ...rules, windowMs: Infinity }).get(agentId)?.weight ?? 0;
      for (const agentId of agents) {
        expect(weightOf(nowMs + passed, agentId)).toBeLessThanOrEqual(weightOf(nowMs, agentId) + 1e-9);
      }
      expect([...judgeAgents({ nowMs: nowMs + rules.windowMs, ends, successes }, rules)]).toEqual([]);
    }),
  );
});

test('what is kept of an agent is bounded, newest first; each lease counts once; the order of the ends does not matter', () => {
  fc.assert(
    fc.property(fc.array(anyEnd, { maxLength: 200 }), anySuccesses, (ends, successes) => {
      const found = judgeAgents({ nowMs, ends, successes }, rules);
      for (const { evidence, failed, ended, weight } of found.values()) {
        expect(evidence.length).toBe(Math.min(failed, evidenceMax));
        expect(new Set(evidence.map(({ leaseId }) => leaseId)).size).toBe(evidence.length);
        expect(evidence.map(({ atMs }) => atMs)).toEqual(evidence.map(({ atMs }) => atMs).toSorted((x, y) => y - x));
        expect(failed).toBeLessThanOrEqual(ended);
        expect(weight).toBeLessThanOrEqual(failed);
      }
      const verdicts = (of: typeof found) => [...of.values()].map((one) => [one.agentId, one.isEnough, one.failed]);
      const sortedEnds = ends.toSorted((x, y) => y.endedAtMs - x.endedAtMs);
      expect(verdicts(judgeAgents({ nowMs, ends: sortedEnds, successes }, rules))).toEqual(verdicts(found));
    }),
  );
});
