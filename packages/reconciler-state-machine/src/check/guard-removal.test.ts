import { describe, expect, test } from 'vitest';
import { guardNames, guardRows, type GuardName } from '../guards.ts';
import { exchangesMax, explore } from './explore.ts';
import { noDisturbance, settingOf, type Bounds } from './world.ts';

/** The least that has to happen for each guard to be needed. */
const needed: Readonly<Record<GuardName, Partial<Bounds>>> = {
  'server-ignores-other-epochs': { repeats: 1, timeouts: 1 },
  'agent-ignores-other-epochs': { repeats: 1, timeouts: 1 },
  'server-ignores-older-copies': { repeats: 1 },
  'agent-ignores-older-copies': { repeats: 1 },
  'server-verifies-digests': { damages: 1 },
  'agent-verifies-digests': { damages: 1 },
  'nothing-before-loaded': {},
  'loss-needs-acknowledged-absence': {},
  'unoffered-needs-unsent': { cancels: 1 },
  'server-acknowledges-persisted': {},
  'settle-after-persisted': {},
  'end-decided-once': {},
  'store-fences-writes': { serverCrashes: 1 },
  'journal-before-start': {},
  'journal-before-report': {},
  'journal-before-forget': {},
  'take-once': {},
  'resume-not-run': { agentCrashes: 1 },
  'agent-acknowledges-decided': {},
  'orphan-needs-acknowledged-absence': { attempts: 2, timeouts: 1, expiries: 1 },
  'finished-kept-until-acknowledged': { attempts: 2, timeouts: 1, expiries: 1 },
  'going-down-told-when-acknowledged': { absences: 1 },
  'coming-back-undoes-going-down': { absences: 1, agentCrashes: 2, serverCrashes: 1 },
  'completed-by-absence-needs-going-down': { absences: 1, expiries: 1, timeouts: 1 },
  'start-limit-of-offers': { absences: 1, expiries: 1 },
  'refused-kept-until-acknowledged': { attempts: 2, timeouts: 1, expiries: 1, refusals: 1 },
};

describe('the check catches the removal of each guard', () => {
  test.each(guardNames)('%s', (name) => {
    const bounds = { ...noDisturbance, leases: 1, ...needed[name] };
    const { violation } = explore(settingOf(bounds, [name]), { exchangesMax, nodesMax: 100_000 });
    expect(violation?.message).toBeTypeOf('string');
    expect(violation?.invariant).toBe(guardRows[name].invariant);
    expect(violation?.steps.length).toBeGreaterThan(2);
  });
});

describe('with every guard in place the same bounds hold', () => {
  const bounds = [...new Set(Object.values(needed).map((some) => JSON.stringify(some)))];
  test.each(bounds)('%s', (some) => {
    const setting = settingOf({ ...noDisturbance, leases: 1, ...(JSON.parse(some) as Partial<Bounds>) }, [], true);
    const found = explore(setting, { exchangesMax });
    expect(found.violation).toBeUndefined();
    expect(found.complete).toBe(true);
  });
});
