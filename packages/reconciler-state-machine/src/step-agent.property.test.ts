import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AgentEffect, AgentEvent } from './agent-machine.ts';
import { initialAgentState, nextAgentDeadlineMs, type HoldingPhase } from './agent-state.ts';
import { keyString } from './attempt-key.ts';
import type { ServerCopy } from './copies.ts';
import { stepAgent } from './step-agent.ts';

const key = fc.record({ leaseId: fc.constantFrom('a', 'b', 'c'), attempt: fc.integer({ min: 1, max: 2 }) });
const copy: fc.Arbitrary<ServerCopy> = fc.record({
  sessionId: fc.constant('s'),
  epoch: fc.integer({ min: 1, max: 2 }),
  revision: fc.nat(12),
  acknowledged: fc.nat(12),
  wantsWhole: fc.boolean(),
  list: fc.oneof(
    fc.record({ kind: fc.constant('digest' as const), digest: fc.constantFrom('0', '1', '2') }),
    fc.record({
      kind: fc.constant('whole' as const),
      leases: fc.array(
        key.chain((k) =>
          fc.record({
            leaseId: fc.constant(k.leaseId),
            attempt: fc.constant(k.attempt),
            state: fc.constantFrom('offered' as const, 'accepted' as const, 'cancelling' as const),
            withWork: fc.constant(true),
          }),
        ),
        { maxLength: 4 },
      ),
    }),
  ),
});

const takesRoom: ReadonlySet<HoldingPhase> = new Set(['accepting', 'running', 'ending', 'finished']);

/** An event, without its time. Any of them may come at any moment, also out of place. */
const event: fc.Arbitrary<AgentEvent<string>> = fc.oneof(
  { weight: 4, arbitrary: copy.map((c) => ({ type: 'copy-received' as const, copy: c, nowMs: 0 })) },
  {
    weight: 4,
    arbitrary: fc.integer({ min: 1, max: 30 }).map((writeId) => ({ type: 'journalled' as const, writeId })),
  },
  key.map((k) => ({ type: 'considered' as const, key: k, cutOff: 'stop' as const })),
  key.map((k) => ({ type: 'considered' as const, key: k, refusal: 'no' })),
  key.map((k) => ({ type: 'handler-ended' as const, key: k, report: 'r' })),
  fc.constantFrom<AgentEvent<string>[]>(
    { type: 'link-opened', nowMs: 0 },
    { type: 'link-lost', nowMs: 0 },
    { type: 'tick', nowMs: 0 },
    { type: 'session-failed', nowMs: 0 },
    { type: 'busy', busy: true },
    { type: 'busy', busy: false },
    { type: 'stop-wished', how: 'drain' },
    { type: 'session-rejected', reason: 'unknown', nowMs: 0 },
    { type: 'session-rejected', reason: 'protocol-violation', nowMs: 0 },
    { type: 'session-rejected', reason: 'fenced', nowMs: 0 },
  ),
  fc.integer({ min: 1, max: 2 }).map((epoch) => ({
    type: 'session-opened' as const,
    sessionId: 's',
    epoch,
    heartbeatMs: 10,
    sessionTimeoutMs: 100,
    sentAtMs: 0,
    nowMs: 0,
  })),
);

test('whatever comes in whatever order, effects keep their order and nothing follows the exit', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(event, fc.nat(20)), { maxLength: 120 }), (steps) => {
      const agent = initialAgentState<string>({
        leasesMax: 2,
        digest: (text) => text,
        backoffMinMs: 1,
        backoffMaxMs: 8,
      });
      const effects: AgentEffect<string>[] = [];
      const restored: AgentEvent<string> = { type: 'restored', attempts: [], nowMs: 0 };
      effects.push(...stepAgent(agent, restored).effects);
      let nowMs = 0;
      for (const [given, passesMs] of steps) {
        nowMs += passesMs;
        effects.push(...stepAgent(agent, 'nowMs' in given ? { ...given, nowMs } : given).effects);
        expect(nextAgentDeadlineMs(agent) ?? 0).not.toBeNaN();
        const phases = [...agent.holdings.values()].map(({ phase }) => phase);
        // Offers that can only be refused need no room.
        const taken = phases.filter((phase) => takesRoom.has(phase));
        expect(taken.length).toBeLessThanOrEqual(2);
        expect(agent.waiting).toBe(phases.filter((phase) => phase === 'waiting').length);
        expect(agent.held).toBe(phases.filter((phase) => phase !== 'waiting' && phase !== 'dropping').length);
        expect(agent.undecided.size).toBe(
          phases.filter((phase) => phase === 'waiting' || phase === 'considering' || phase === 'accepting').length,
        );
      }
      checkOrder(effects);
    }),
    { numRuns: 500 },
  );
});

function checkOrder(effects: readonly AgentEffect<string>[]): void {
  const journalled = new Set<string>();
  const running = new Set<string>();
  for (const [index, effect] of effects.entries()) {
    if (effect.type === 'exit') expect(index).toBe(effects.length - 1);
    if (effect.type === 'journal') {
      for (const entry of effect.entries) if (entry.kind === 'accepted') journalled.add(keyString(entry.key));
    }
    if (effect.type === 'start') {
      expect(journalled.has(keyString(effect.key))).toBe(true);
      journalled.delete(keyString(effect.key));
      running.add(keyString(effect.key));
    }
    if (effect.type === 'stop') {
      // A handler is told once.
      expect(running.delete(keyString(effect.key))).toBe(true);
    }
  }
}
