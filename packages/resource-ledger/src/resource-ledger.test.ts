import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { createResourceLedger, type ResourceOwner } from './resource-ledger.ts';

const attempt = (id: string): ResourceOwner => ({ kind: 'attempt', id });
const machine = () => createResourceLedger({ total: { cores: 4, ram: 1_000 }, leasesMax: 3 });

describe('reserve', () => {
  test('counts what is held and gives it back once', () => {
    const ledger = machine();
    expect(ledger.reserve(attempt('a'), { resources: { cores: 3 } })).toBeUndefined();
    expect(ledger.free()).toEqual({ cores: 1, ram: 1_000 });
    expect(ledger.used()).toEqual({ cores: 3 });
    expect(ledger.release(attempt('a'))).toBe(true);
    expect(ledger.release(attempt('a'))).toBe(false);
    expect(ledger.idle).toBe(true);
    expect(ledger.free()).toEqual({ cores: 4, ram: 1_000 });
  });

  test('refuses more than is free, takes nothing of it, and says who has it', () => {
    const ledger = machine();
    ledger.reserve(attempt('a'), { resources: { cores: 3 } });
    const shortage = ledger.reserve(attempt('b'), { resources: { ram: 10, cores: 2 } });
    expect(shortage).toMatchObject({ code: 'RESOURCE_TAKEN', passing: true });
    expect(shortage?.message).toBe('wants 2 cores, and 1 of 4 are free; held by attempt:a');
    expect(ledger.used()).toEqual({ cores: 3 });
  });

  test('tells what can never fit from what is taken now', () => {
    const ledger = machine();
    expect(ledger.reserve(attempt('a'), { resources: { cores: 5 } })).toMatchObject({
      code: 'RESOURCE_TOO_LARGE',
      passing: false,
    });
    expect(ledger.reserve(attempt('a'), { resources: { gpu: 1 } })).toMatchObject({
      code: 'RESOURCE_UNKNOWN',
      passing: false,
    });
  });

  test('counts slots for attempts alone', () => {
    const ledger = machine();
    for (const id of ['a', 'b', 'c']) expect(ledger.reserve(attempt(id), {})).toBeUndefined();
    expect(ledger.slotsFree()).toBe(0);
    expect(ledger.reserve(attempt('d'), {})).toMatchObject({ code: 'SLOTS_TAKEN', passing: true });
    expect(ledger.reserve({ kind: 'lan-job', id: 'd' }, {})).toBeUndefined();
  });

  test('an exclusive claim waits for an idle machine and keeps all others out', () => {
    const ledger = machine();
    ledger.reserve({ kind: 'lan-job', id: 'x' }, { resources: { cores: 1 } });
    expect(ledger.reserve(attempt('a'), { exclusive: true })).toMatchObject({ code: 'MACHINE_NOT_IDLE' });
    ledger.release({ kind: 'lan-job', id: 'x' });
    expect(ledger.reserve(attempt('a'), { exclusive: true })).toBeUndefined();
    expect(ledger.reserve({ kind: 'sandbox', id: 's' }, {})).toMatchObject({ code: 'MACHINE_RESERVED' });
  });

  test('an owner has one reservation', () => {
    const ledger = machine();
    ledger.reserve(attempt('a'), {});
    expect(() => ledger.reserve(attempt('a'), {})).toThrow(/holds a reservation already/);
  });

  test.each([{ cores: 1.5 }, { cores: -1 }, { cores: Number.NaN }])('refuses %o', (resources) => {
    const ledger = machine();
    let thrown: unknown;
    try {
      ledger.reserve(attempt('a'), { resources });
    } catch (error) {
      thrown = error;
    }
    expect(isDroverError(thrown, 'RESOURCES_INVALID')).toBe(true);
    expect(ledger.idle).toBe(true);
  });
});

test('what runs already is counted beyond the total, and nothing is free until it ends', () => {
  const ledger = machine();
  ledger.adopt(attempt('a'), { resources: { cores: 9 } });
  expect(ledger.free()).toEqual({ cores: 0, ram: 1_000 });
  ledger.release(attempt('a'));
  expect(ledger.free()['cores']).toBe(4);
});

test('used elsewhere is everything but attempts; a transfer moves a reservation there', () => {
  const ledger = machine();
  ledger.reserve(attempt('a'), { resources: { cores: 2 } });
  ledger.reserve({ kind: 'lan-job', id: 'x' }, { resources: { cores: 1 } });
  expect(ledger.usedElsewhere()).toEqual({ cores: 1 });
  expect(ledger.transfer(attempt('a'), { kind: 'abandoned-attempt', id: 'a' })).toBe(true);
  expect(ledger.usedElsewhere()).toEqual({ cores: 3 });
  expect(ledger.slotsFree()).toBe(3);
});

test('listeners hear every change until they stop', () => {
  const ledger = machine();
  let heard = 0;
  const stop = ledger.onChange(() => heard++);
  ledger.reserve(attempt('a'), {});
  ledger.reserve(attempt('b'), { resources: { cores: 99 } });
  ledger.release(attempt('a'));
  expect(heard).toBe(2);
  stop();
  ledger.reserve(attempt('a'), {});
  expect(heard).toBe(2);
});

test('a machine that shrinks keeps what is reserved and grants no more than there is', () => {
  const ledger = createResourceLedger({ total: { cores: 4, gpus: 1 }, leasesMax: 4 });
  let heard = 0;
  ledger.onChange(() => heard++);
  ledger.reserve(attempt('a'), { resources: { cores: 3 } });
  ledger.resize({ cores: 2, ram: 8 });
  expect([ledger.total, ledger.free(), heard]).toEqual([{ cores: 2, ram: 8 }, { cores: 0, ram: 8 }, 2]);
  expect(ledger.reserve(attempt('b'), { resources: { cores: 1 } })?.code).toBe('RESOURCE_TAKEN');
  expect(ledger.reserve(attempt('b'), { resources: { gpus: 1 } })?.code).toBe('RESOURCE_UNKNOWN');
  ledger.release(attempt('a'));
  expect(ledger.reserve(attempt('b'), { resources: { cores: 2, ram: 8 } })).toBeUndefined();
  expect(() => ledger.resize({ cores: -1 })).toThrow(/whole number/);
});
