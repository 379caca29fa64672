import fc from 'fast-check';
import { ManualClock } from '@drover/lease-kit/testing';
import { expect, test } from 'vitest';
import { DeadlineQueue } from './deadline-queue.ts';

test('every owner is asked soon after its deadline, wherever that has moved, and one timer serves all', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ dueMs: fc.nat(5_000), movedMs: fc.nat(5_000) }), { minLength: 1, maxLength: 50 }),
      (owners) => {
        const clock = new ManualClock();
        const asked = new Map<number, number>();
        const queue = new DeadlineQueue<number>(clock, (owner) => {
          const wantedMs = owners[owner]!.dueMs + owners[owner]!.movedMs;
          if (clock.monotonicMs() < wantedMs) return wantedMs;
          asked.set(owner, clock.monotonicMs());
          return undefined;
        });
        owners.forEach(({ dueMs }, owner) => queue.add(owner, dueMs));
        expect(clock.pendingCalls).toBe(1);
        clock.advance(11_000);
        expect(clock.pendingCalls).toBe(0);
        owners.forEach(({ dueMs, movedMs }, owner) => {
          expect(asked.get(owner)).toBeGreaterThanOrEqual(dueMs + movedMs);
          expect(asked.get(owner)).toBeLessThanOrEqual(dueMs + movedMs + 200);
        });
      },
    ),
  );
});
