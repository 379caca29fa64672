import fc from 'fast-check';
import { expect, test } from 'vitest';
import { applyAction, isExchange, isScheduled, listActions, type Action } from './actions.ts';
import { inSync } from './in-sync.ts';
import { firstWorld } from './explore.ts';
import { budgetNames, noDisturbance, settingOf, type World } from './world.ts';

const setting = settingOf({ ...noDisturbance, leases: 4, attempts: 3 }, [], true);
const disturbances = budgetNames.filter((name) => name !== 'damages');

/** Lets `choices` decide what happens: small numbers prefer what the fault-free scheduler does. */
function walk(world: World, choices: readonly number[]): void {
  for (const choice of choices) {
    const actions: Action[] = [];
    listActions(setting, world, undefined, actions);
    // Disturbances are as likely as everything else together, so that runs get somewhere between them.
    if (choice % 4 === 0) for (const kind of disturbances) listActions(setting, world, kind, actions);
    if (actions.length > 0) applyAction(setting, world, actions[Math.floor(choice / 4) % actions.length]!);
  }
}

/** Without faults from here on: how many of the agent's copies are delivered until both ends agree. */
function exchangesToSync(world: World): number {
  let exchanges = 0;
  for (let steps = 0; !inSync(world); steps += 1) {
    if (steps > 500) return Infinity;
    const actions: Action[] = [];
    listActions(setting, world, undefined, actions);
    const action = actions.find(isScheduled)!;
    applyAction(setting, world, action);
    if (isExchange(action, world)) exchanges += 1;
  }
  return exchanges;
}

test('long runs with any number of disturbances break no invariant and come into sync (I1–I10)', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(4000), { minLength: 20, maxLength: 400 }), (choices) => {
      const world = firstWorld(setting);
      walk(world, choices);
      expect(exchangesToSync(world)).toBeLessThanOrEqual(6);
    }),
    { numRuns: 500 },
  );
});
