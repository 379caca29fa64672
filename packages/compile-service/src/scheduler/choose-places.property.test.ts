import type { CompileTenantRecord, CompileUsage, CompileWorkerRecord } from '@drover/lease-store';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { choosePlaces, misfitOf, tokensPerSlot, type WantedPlaces } from './choose-places.ts';

const images = ['1', '2', '3'].map((digit) => `sha256:${digit.repeat(64)}`);
const tenantBase: CompileTenantRecord = {
  ...{ tenantId: 'studio', isEnabled: true, issuer: '', audience: '', claim: '', claimValue: '', clientId: '' },
  ...{ tokenUrl: '', scope: '', users: [], images: [], workers: [], isolation: 'namespaces' },
  ...{ compilesAtOnceMax: 1_000, compilesPerMinuteMax: 1_000, changedBy: '', changedAtMs: 0 },
};
const workerBase: CompileWorkerRecord = {
  workerId: 'w0',
  epoch: 1,
  silentMs: 100,
  registration: {
    ...{ address: 'h:1', certificateSha256: '', driver: 'd', isolation: 'namespaces', facts: {}, slotsTotal: 4 },
    ...{ isParanoid: false, version: '', architecture: 'linux-x64' },
  },
  report: {
    ...{ compiles: 0, slotsFree: 4, load: 0, imagesHeld: [images[0]!], imagesAdvertised: [], sandboxes: [] },
    isDraining: false,
  },
};
const wantedBase: WantedPlaces = {
  ...{ tenant: tenantBase, imageDigest: images[0]!, count: 8, avoid: new Set(), isParanoid: false },
  architecture: 'linux-x64',
};
const idle: CompileUsage = { tenantPlaces: 0, tenantLastMinute: 0, workerPlaces: new Map(), tenantsActive: 1 };
const named = (workerId: string, report: Partial<CompileWorkerRecord['report']> = {}): CompileWorkerRecord => ({
  ...workerBase,
  workerId,
  report: { ...workerBase.report, ...report },
});
const chosen = (workers: readonly CompileWorkerRecord[], wanted: Partial<WantedPlaces> = {}, usage = idle) =>
  Object.fromEntries(
    choosePlaces({ ...wantedBase, ...wanted }, workers, usage).map(({ workerId, count }) => [workerId, count]),
  );

const image = fc.constantFrom(...images);
const level = fc.constantFrom('none' as const, 'namespaces' as const, 'vm' as const);
const workerArb = (index: number): fc.Arbitrary<CompileWorkerRecord> =>
  fc
    .record({
      silentMs: fc.integer({ min: 0, max: 40_000 }),
      slotsTotal: fc.integer({ min: 1, max: 8 }),
      busy: fc.integer({ min: 0, max: 8 }),
      load: fc.double({ min: 0, max: 1, noNaN: true }),
      held: fc.uniqueArray(image),
      advertised: fc.uniqueArray(image),
      isolation: level,
      isParanoid: fc.boolean(),
      isDraining: fc.boolean(),
      isWarm: fc.boolean(),
      architecture: fc.constantFrom('linux-x64', 'linux-arm64'),
    })
    .map((made) => ({
      workerId: `w${index}`,
      epoch: index + 1,
      silentMs: made.silentMs,
      registration: {
        ...workerBase.registration,
        ...{ isolation: made.isolation, slotsTotal: made.slotsTotal, isParanoid: made.isParanoid },
        architecture: made.architecture,
      },
      report: {
        ...workerBase.report,
        ...{ load: made.load, imagesHeld: made.held, imagesAdvertised: made.advertised, isDraining: made.isDraining },
        slotsFree: Math.max(0, made.slotsTotal - made.busy),
        sandboxes: made.isWarm
          ? [{ sandboxId: 's', tenantId: 'studio', imageDigest: images[0]!, state: 'running' as const, execs: 1 }]
          : [],
      },
    }));
const workersArb = fc
  .integer({ min: 0, max: 6 })
  .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => workerArb(i))));
const wantedArb = fc.record({
  count: fc.integer({ min: 1, max: 256 }),
  imageDigest: image,
  isParanoid: fc.boolean(),
  architecture: fc.constantFrom('', 'linux-x64', 'linux-arm64'),
  avoid: fc.uniqueArray(fc.constantFrom('w0', 'w1', 'w2')).map((ids) => new Set(ids)),
  tenant: fc
    .record({
      isolation: level,
      workers: fc.constantFrom<readonly string[]>([], ['w1', 'w2']),
      compilesAtOnceMax: fc.integer({ min: 1, max: 300 }),
      compilesPerMinuteMax: fc.integer({ min: 1, max: 300 }),
    })
    .map((changes) => ({ ...tenantBase, ...changes })),
});
const usageArb = fc.record({
  tenantPlaces: fc.integer({ min: 0, max: 100 }),
  tenantLastMinute: fc.integer({ min: 0, max: 100 }),
  tenantsActive: fc.integer({ min: 1, max: 5 }),
  workerPlaces: fc
    .array(fc.integer({ min: 0, max: 200 }), { maxLength: 6 })
    .map((counts) => new Map(counts.map((count, index) => [`w${index}`, count]))),
});

test('only workers that fit, within their room and the quotas of the tenant', () => {
  fc.assert(
    fc.property(wantedArb, workersArb, usageArb, (wanted, workers, usage) => {
      const { compilesAtOnceMax, compilesPerMinuteMax } = wanted.tenant;
      const left = Math.min(compilesAtOnceMax - usage.tenantPlaces, compilesPerMinuteMax - usage.tenantLastMinute);
      if (left <= 0) {
        expect(() => choosePlaces(wanted, workers, usage)).toThrow(/may have/);
        return;
      }
      const places = choosePlaces(wanted, workers, usage);
      const total = places.reduce((sum, { count }) => sum + count, 0);
      expect(total).toBeLessThanOrEqual(Math.min(wanted.count, left));
      expect(new Set(places.map(({ workerId }) => workerId)).size).toBe(places.length);
      for (const { workerId, workerEpoch, count } of places) {
        const worker = workers.find((one) => one.workerId === workerId)!;
        expect(worker.epoch).toBe(workerEpoch);
        expect(misfitOf(wanted, worker)).toBeUndefined();
        expect(worker.silentMs).toBeLessThan(20_000);
        const out = usage.workerPlaces.get(workerId) ?? 0;
        expect(count + out).toBeLessThanOrEqual(worker.registration.slotsTotal * tokensPerSlot);
        expect(wanted.tenant.workers.length === 0 || wanted.tenant.workers.includes(workerId)).toBe(true);
      }
      // Alone a tenant gets all that there is.
      const fitting = workers.filter((worker) => misfitOf(wanted, worker) === undefined);
      const free = fitting.reduce(
        (sum, { workerId, registration: { slotsTotal } }) =>
          sum + Math.max(0, slotsTotal * tokensPerSlot - (usage.workerPlaces.get(workerId) ?? 0)),
        0,
      );
      if (usage.tenantsActive === 1) expect(total).toBe(Math.min(wanted.count, left, free));
      // The order in which workers stand says nothing.
      const sorted = (some: typeof places) => some.map((one) => JSON.stringify(one)).sort();
      const totalBack = choosePlaces(wanted, [...workers].reverse(), usage);
      expect(sorted(totalBack).length === 0).toBe(sorted(places).length === 0);
    }),
  );
});

test('an image that is there, and a warm sandbox, come before a free slot', () => {
  const sandboxes = [
    { sandboxId: 's', tenantId: 'studio', imageDigest: images[0]!, state: 'running' as const, execs: 1 },
  ];
  const advertises = named('pulls', { imagesHeld: [], imagesAdvertised: [images[0]!] });
  expect(chosen([advertises, named('holds', { slotsFree: 0 })], { count: 4 })).toEqual({ holds: 4 });
  expect(chosen([named('cold'), named('warm', { sandboxes })], { count: 1 })).toEqual({ warm: 1 });
  const others = [{ ...sandboxes[0]!, tenantId: 'lab' }];
  expect(chosen([named('busy', { sandboxes: others, load: 0.9 }), named('idle')], { count: 1 })).toEqual({ idle: 1 });
});

test('a batch is spread over workers that are alike', () => {
  expect(chosen([named('a'), named('b')], { count: 8 })).toEqual({ a: 4, b: 4 });
});

test('who just failed is asked only where no other has room', () => {
  const avoid = new Set(['a']);
  expect(chosen([named('a'), named('b', { slotsFree: 0, load: 1 })], { avoid, count: 64 })).toEqual({ b: 64 });
  expect(chosen([named('a'), named('b')], { avoid, count: 70 })).toEqual({ a: 6, b: 64 });
});

test('when tenants compete, each finds room', () => {
  const crowd: CompileUsage = { ...idle, tenantsActive: 2 };
  // 128 in all: its half, and half of the rest.
  expect(chosen([named('a'), named('b')], { count: 128 }, crowd)).toEqual({ a: 48, b: 48 });
  const late = {
    ...crowd,
    workerPlaces: new Map([
      ['a', 48],
      ['b', 48],
    ]),
  };
  expect(chosen([named('a'), named('b')], { count: 128 }, late)).toEqual({ a: 16, b: 16 });
});
