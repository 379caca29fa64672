import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createResourceLedger } from './resource-ledger.ts';

const step = fc.record({
  release: fc.boolean(),
  id: fc.integer({ min: 0, max: 5 }).map(String),
  cores: fc.integer({ min: 0, max: 6 }),
  exclusive: fc.boolean(),
});

test('grants never exceed the total, and used plus free is the total', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ledger = createResourceLedger({ total: { cores: 5 }, leasesMax: 3 });
      const held = new Map<string, { cores: number; exclusive: boolean }>();
      for (const { release, id, cores, exclusive } of steps) {
        const owner = { kind: 'attempt', id } as const;
        if (release) expect(ledger.release(owner)).toBe(held.delete(id));
        else if (!held.has(id) && !ledger.reserve(owner, { resources: { cores }, exclusive })) {
          held.set(id, { cores, exclusive });
        }
        const sum = [...held.values()].reduce((all, one) => all + one.cores, 0);
        expect(sum).toBeLessThanOrEqual(5);
        expect(held.size).toBeLessThanOrEqual(3);
        if ([...held.values()].some((one) => one.exclusive)) expect(held.size).toBe(1);
        expect(ledger.free()).toEqual({ cores: 5 - sum });
      }
    }),
  );
});
