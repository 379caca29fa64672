import { describe, expect, test } from 'vitest';
import { actionNamed, applyAction, listActions, type Action } from './actions.ts';
import { createCodec } from './codec.ts';
import { exchangesMax, explore, firstWorld } from './explore.ts';
import { budgetNames, noDisturbance, settingOf, type Budgets, type Setting } from './world.ts';
import { createWorldSet } from './world-set.ts';

/** Every row that can be reached when the named disturbances may happen any number of times. */
function reach(setting: Setting, disturbances: readonly (keyof Budgets)[]): Uint8Array[] {
  const codec = createCodec(setting);
  const worlds = createWorldSet(codec.size);
  worlds.add(codec.encode(firstWorld(setting)));
  for (let index = 0; index < worlds.count(); index += 1) {
    const actions: Action[] = [];
    const decode = () => codec.decode(worlds.bytes(), index * codec.size);
    for (const kind of [undefined, ...disturbances]) listActions(setting, decode(), kind, actions);
    for (const action of actions) {
      const next = decode();
      applyAction(setting, next, action);
      worlds.add(codec.encode(next));
    }
  }
  return Array.from({ length: worlds.count() }, (_, index) =>
    worlds.bytes().slice(index * codec.size, (index + 1) * codec.size),
  );
}

const openLink = actionNamed('open-link');
const text = (row: Uint8Array): string => Buffer.from(row).toString('base64');

describe('what the exploration leaves out', () => {
  test.each([
    { leases: 1, attempts: 1, disturbances: ['losses', 'cuts', 'cancels', 'refusals'] },
    { leases: 1, attempts: 1, disturbances: ['losses', 'agentCrashes'] },
    { leases: 1, attempts: 1, disturbances: ['losses', 'serverCrashes'] },
    { leases: 1, attempts: 2, disturbances: ['agentCrashes', 'serverCrashes'] },
    { leases: 1, attempts: 1, disturbances: ['repeats', 'losses', 'cancels'] },
    { leases: 1, attempts: 2, disturbances: ['timeouts', 'expiries'] },
    { leases: 1, attempts: 1, disturbances: ['repeats', 'cuts', 'serverCrashes'] },
    { leases: 2, attempts: 1, disturbances: [] },
  ] as const)('is covered by what it visits: $leases lease(s), $disturbances', ({ leases, attempts, disturbances }) => {
    const bounds = { ...noDisturbance, leases, attempts };
    const precise = settingOf(bounds, [], true);
    const reduced = settingOf(bounds);
    const fine = createCodec(precise);
    const coarse = createCodec(reduced);
    const visited = new Set(reach(reduced, disturbances).map(text));
    const missing = reach(precise, disturbances).filter((row) => {
      const world = fine.decode(row, 0);
      // An agent whose server has gone finds out at once: see `crash-server`.
      if (world.server === undefined && world.agent.phase === 'session') applyAction(reduced, world, openLink);
      return !visited.has(text(coarse.encode(world)));
    });
    expect(missing.length).toBe(0);
  });

  test('a world survives being written and read', () => {
    const setting = settingOf({ ...noDisturbance, attempts: 2 }, [], true);
    const codec = createCodec(setting);
    for (const row of reach(setting, []).slice(0, 20_000)) {
      expect(text(codec.encode(codec.decode(row, 0)))).toBe(text(row));
    }
  });
});

describe('the exploration', () => {
  test('finds nothing with every disturbance once and one lease', () => {
    const all = Object.fromEntries(
      budgetNames.map((name) => [name, name === 'damages' || name === 'expiries' ? 0 : 1]),
    );
    const bounds = { ...noDisturbance, leases: 1, ...(all as unknown as Budgets) };
    const found = explore(settingOf(bounds), { exchangesMax });
    expect(found.violation).toBeUndefined();
    expect(found.states).toBeGreaterThan(1000);
    expect(found.exchangesMax).toBeLessThanOrEqual(exchangesMax);
  });

  test('complains when the ends need more exchanges than the bound', () => {
    const found = explore(settingOf({ ...noDisturbance, leases: 1 }), { exchangesMax: 0 });
    expect(found.violation?.invariant).toBe(8);
    expect(found.violation?.steps).toContain('— from here on no more faults —');
  });
});
