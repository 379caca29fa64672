import { isDroverError } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CountingDriver, imageOf, type CountedSandbox } from './counted-sandboxes.test.fixture.ts';
import { createSandboxPool, type SandboxPool, type SandboxPoolOptions, type SandboxUse } from './index.ts';

const bounds = { vcpus: 2, memoryBytes: 1, diskBytes: 1, processesMax: 1 };
const never = new AbortController().signal;
const gcc = imageOf('gcc');

function make(options: Partial<SandboxPoolOptions> = {}, turns = 0) {
  const driver = new CountingDriver(turns);
  const clock = new ManualClock();
  const pool = createSandboxPool({ sandboxesMax: 2, usesMax: 2, bounds, ...options }, { driver, clock });
  return { driver, clock, pool, use: (tenant = 'a', image = gcc, signal = never) => pool.use(tenant, image, signal) };
}

/** All that was under way in this process has gone on. */
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));
const withCode = (code: string) => expect.toSatisfy((error: unknown) => isDroverError(error, code));
/** Whether a promise has come to an end by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let is = false;
  promise.then(
    () => (is = true),
    () => (is = true),
  );
  await turn();
  return is;
}

describe('a pool of sandboxes', () => {
  test('shares one by as many uses as it may have, and keeps it for the next', async () => {
    const { driver, use } = make();
    const [first, second] = await Promise.all([use(), use()]);
    expect(second.sandbox).toBe(first.sandbox);
    const third = await use();
    expect(third.sandbox).not.toBe(first.sandbox);
    for (const one of [first, second, third]) one.release();
    expect(await use()).toMatchObject({ warm: true });
    expect(driver.starts).toBe(2);
  });

  test('never gives one to two tenants, nor to two images', async () => {
    const { use, driver } = make({ sandboxesMax: 3 });
    const uses = [await use('a'), await use('b'), await use('a', imageOf('clang'))];
    expect(new Set(uses.map(({ sandbox }) => sandbox)).size).toBe(3);
    const specs = uses.map(({ sandbox }) => (sandbox as CountedSandbox).spec);
    expect(specs.map(({ tenant, image }) => `${tenant} ${image.digest}`)).toEqual([
      'a sha256:gcc',
      'b sha256:gcc',
      'a sha256:clang',
    ]);
    expect(driver.peak).toBe(3);
  });

  test('has never more than its bound: an idle one makes room, a busy one is waited for', async () => {
    const { use, driver, pool } = make({ sandboxesMax: 1, usesMax: 1 });
    const first = await use('a');
    const waits = use('b');
    expect(await settled(waits)).toBe(false);
    expect(pool.waiting).toBe(1);
    first.release();
    expect((await waits).sandbox).not.toBe(first.sandbox);
    expect(driver.peak).toBe(1);
  });

  test('a tenant that keeps its sandbox busy does not keep others out', async () => {
    const { use } = make({ sandboxesMax: 1, usesMax: 2 });
    const [one, two] = [await use('a'), await use('a')];
    const other = use('b');
    expect(await settled(other)).toBe(false);
    // The sandbox is on its way out: a place that becomes free is not taken again.
    one.release();
    const again = use('a');
    expect(await settled(again)).toBe(false);
    two.release();
    expect(await settled(other)).toBe(true);
    (await other).release();
    (await again).release();
  });

  test('lets tenants take turns', async () => {
    const { use } = make({ sandboxesMax: 1, usesMax: 1 });
    const order: string[] = [];
    const held = await use('x');
    const queued = ['a', 'a', 'a', 'b'].map(async (tenant) => {
      const got = await use(tenant);
      order.push(tenant);
      got.release();
    });
    await turn();
    held.release();
    await Promise.all(queued);
    expect(order.indexOf('b')).toBeLessThan(2);
  });

  test('refuses who has waited too long, and too many; an abort leaves the queue', async () => {
    const { use, clock, pool } = make({ sandboxesMax: 1, usesMax: 1, waitMsMax: 100, waitingMax: 2 });
    await use();
    const abort = new AbortController();
    const late = use();
    const left = use('a', gcc, abort.signal);
    late.catch(() => undefined);
    await expect(use()).rejects.toEqual(withCode('SANDBOXES_TAKEN'));
    abort.abort(new Error('no more'));
    await expect(left).rejects.toThrow('no more');
    expect(pool.waiting).toBe(1);
    clock.advance(100);
    await expect(late).rejects.toEqual(withCode('SANDBOXES_TAKEN'));
    expect([pool.waiting, clock.pendingCalls]).toEqual([0, 0]);
  });

  test('stops one that is idle, and one that is old when its uses end', async () => {
    const { use, clock, driver } = make({ idleMsMax: 50, ageMsMax: 1_000 });
    (await use()).release();
    clock.advance(49);
    const again = await use();
    expect(again.warm).toBe(true);
    clock.advance(1_000);
    expect((await use()).sandbox).not.toBe(again.sandbox);
    expect(driver.live.size).toBe(2);
    again.release();
    await turn();
    expect(driver.live.size).toBe(1);
  });

  test('keeps a spare one where there was demand', async () => {
    const { use, driver } = make({ sandboxesMax: 3, usesMax: 1, spareMax: 1 });
    await use();
    await turn();
    expect(driver.starts).toBe(2);
    expect((await use()).warm).toBe(true);
  });

  test('forgets one that dies or breaks, and tells who asked that one does not start', async () => {
    const { use, driver } = make();
    const first = await use();
    (first.sandbox as CountedSandbox).die();
    await turn();
    const second = await use();
    expect(second.sandbox).not.toBe(first.sandbox);
    first.release();
    second.release(true);
    await turn();
    expect(driver.live.size).toBe(0);
    driver.failing = true;
    await expect(use()).rejects.toThrow('it does not start');
    driver.failing = false;
    expect((await use()).warm).toBe(false);
  });

  test('retires the sandboxes of an image', async () => {
    const { use, pool } = make();
    const used = await use();
    const retired = pool.retire(gcc.digest);
    expect(await settled(retired)).toBe(false);
    used.release();
    await retired;
    expect(pool.list()).toEqual([]);
  });

  test('stops everything when it is closed', async () => {
    const { use, pool, driver } = make({ sandboxesMax: 1, usesMax: 1 });
    await use();
    const waits = use('b');
    waits.catch(() => undefined);
    await pool[Symbol.asyncDispose]();
    await expect(waits).rejects.toEqual(withCode('POOL_CLOSED'));
    await expect(use()).rejects.toEqual(withCode('POOL_CLOSED'));
    expect(driver.live.size).toBe(0);
  });
});

test('whatever happens, the bound holds, nobody shares, and everybody gets a place', async () => {
  const action = fc.record({
    tenant: fc.integer({ min: 0, max: 3 }),
    image: fc.integer({ min: 0, max: 1 }),
    kind: fc.constantFrom('use', 'use', 'use', 'release', 'release', 'die', 'break', 'time'),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 0, max: 4 }),
      fc.array(action, { maxLength: 60 }),
      async (sandboxesMax, usesMax, turns, actions) => {
        const { driver, clock, pool } = make(
          { sandboxesMax, usesMax, idleMsMax: 50, ageMsMax: 200, spareMax: 1 },
          turns,
        );
        const held: { use: SandboxUse; tenant: string; digest: string }[] = [];
        const asked: Promise<unknown>[] = [];
        for (const { tenant, image, kind } of actions) {
          if (kind === 'use') asked.push(ask(pool, `t${tenant}`, image, held));
          else if (kind === 'release') held.shift()?.use.release();
          else if (kind === 'break') held.shift()?.use.release(true);
          else if (kind === 'time') clock.advance(60);
          else [...driver.live][0]?.die();
          await turn();
          check(held, usesMax);
          expect(driver.peak).toBeLessThanOrEqual(sandboxesMax);
        }
        while (pool.waiting > 0 || held.length > 0) {
          expect(pool.waiting === 0 || held.length > 0).toBe(true);
          held.shift()?.use.release();
          await turn();
          check(held, usesMax);
        }
        await Promise.all(asked);
        await pool[Symbol.asyncDispose]();
        expect([driver.live.size, clock.pendingCalls]).toEqual([0, 0]);
        expect(driver.peak).toBeLessThanOrEqual(sandboxesMax);
      },
    ),
    { numRuns: 200 },
  );
});

async function ask(
  pool: SandboxPool,
  tenant: string,
  image: number,
  held: { use: SandboxUse; tenant: string; digest: string }[],
): Promise<void> {
  const wanted = imageOf(String(image));
  const use = await pool.use(tenant, wanted, never);
  held.push({ use, tenant, digest: wanted.digest });
}

function check(held: readonly { use: SandboxUse; tenant: string; digest: string }[], usesMax: number): void {
  const uses = new Map<string, number>();
  for (const { use, tenant, digest } of held) {
    const { spec } = use.sandbox as CountedSandbox;
    expect([spec.tenant, spec.image.digest]).toEqual([tenant, digest]);
    uses.set(spec.id, (uses.get(spec.id) ?? 0) + 1);
  }
  for (const count of uses.values()) expect(count).toBeLessThanOrEqual(usesMax);
}
