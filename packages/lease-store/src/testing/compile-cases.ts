import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { compileLimits, compileTenantNotFound } from '../check-compile-input.ts';
import type {
  CompileRecordDraft,
  CompileTenantDraft,
  CompileUsage,
  CompileWorkerRegistration,
  CompileWorkerReport,
} from '../compile-store.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context } from './store-samples.ts';

const image = `sha256:${'1'.repeat(64)}`;
const tenantOf = (tenantId: string, changes: Partial<CompileTenantDraft> = {}): CompileTenantDraft => ({
  tenantId,
  isEnabled: true,
  issuer: '',
  audience: '',
  claim: '',
  claimValue: '',
  clientId: '',
  tokenUrl: '',
  scope: '',
  users: [],
  images: [],
  workers: [],
  isolation: 'namespaces',
  compilesAtOnceMax: 100,
  compilesPerMinuteMax: 1_000,
  ...changes,
});
const nonceOf = (digit: string): string => digit.repeat(32);
const registration: CompileWorkerRegistration = {
  address: '[::1]:7700',
  certificateSha256: 'c'.repeat(64),
  driver: 'namespace',
  isolation: 'namespaces',
  facts: { 'user "namespace"': "yes, o'neil" },
  slotsTotal: 8,
  isParanoid: false,
  version: '1.0.0',
  architecture: 'linux-x64',
};
const report: CompileWorkerReport = {
  compiles: 1,
  slotsFree: 7,
  load: 0.5,
  imagesHeld: [image],
  imagesAdvertised: [],
  sandboxes: [{ sandboxId: 's1', tenantId: 'studio', imageDigest: image, state: 'running', execs: 3 }],
  isDraining: false,
};
const recordOf = (compileId: string, changes: Partial<CompileRecordDraft> = {}): CompileRecordDraft => ({
  compileId,
  tenantId: 'studio',
  workerId: 'w1',
  startedAtMs: Date.now(),
  tookMs: 12,
  exitCode: 1,
  sandboxId: 's1',
  isolation: 'namespaces',
  driver: 'namespace',
  imageDigest: image,
  compilerDigest: 'ab',
  sourceDigest: 'cd',
  outputDigest: '',
  cacheKey: 'ef',
  flags: ['-O2', '-DX="a b"', 'back\\slash', ''],
  ...changes,
});

/** What every compile store does. */
export const compileStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps tenants by id, and who wrote them',
    async run({ store: { compiles } }) {
      const draft = tenantOf('studio', {
        issuer: 'https://issuer.invalid/realms/a',
        audience: 'drover',
        claim: 'team',
        claimValue: 'a "b"',
        users: ['ada', 'ci@studio'],
        images: [image],
        workers: ['w1'],
        isolation: 'vm',
      });
      const made = await compiles.putTenant(draft, context);
      assert.deepEqual({ ...made, changedAtMs: 0 }, { ...draft, changedBy: 'service:compliance', changedAtMs: 0 });
      await compiles.putTenant(tenantOf('lab'), context);
      const changed = await compiles.putTenant(tenantOf('studio', { isEnabled: false }), context);
      const all = await compiles.tenants({ limit: 10 }, context);
      assert.deepEqual(
        all.map(({ tenantId, isEnabled }) => [tenantId, isEnabled]),
        [
          ['lab', true],
          ['studio', false],
        ],
      );
      assert.deepEqual(await compiles.tenants({ after: 'lab', limit: 1 }, context), [changed]);
      await compiles.removeTenant('lab', context);
      await rejectsWith(compiles.removeTenant('lab', context), 'COMPILE_TENANT_NOT_FOUND');
    },
  },
  {
    name: 'takes no tenant that anybody could be, or that has no bounds',
    async run({ store: { compiles } }) {
      const wrong: Partial<CompileTenantDraft>[] = [
        { tenantId: '' },
        { tenantId: 'A' },
        { tenantId: '../x' },
        { issuer: 'http://issuer.invalid', audience: 'x' },
        { issuer: 'https://issuer.invalid' },
        { tokenUrl: 'ftp://x' },
        { claim: 'team' },
        { claimValue: 'a' },
        { scope: 'a\nb' },
        { users: [''] },
        { images: ['latest'] },
        { workers: ['a b'] },
        { compilesAtOnceMax: 0 },
        { compilesPerMinuteMax: 1.5 },
      ];
      for (const changes of wrong) {
        await rejectsWith(compiles.putTenant(tenantOf('bad', changes), context), 'COMPILE_TENANT_INVALID');
      }
    },
  },
  {
    name: 'a worker is one process, and its last registration counts',
    async run({ store: { compiles }, elapse }) {
      const first = { workerId: 'w1', instanceNonce: nonceOf('a') };
      const second = { workerId: 'w1', instanceNonce: nonceOf('b') };
      await rejectsWith(compiles.registerWorker(first, registration, report, context), 'COMPILE_WORKER_SUPERSEDED');
      await compiles.openWorker(first, context);
      assert.deepEqual(await compiles.workers({ limit: 10 }, context), []);
      const epoch = await compiles.registerWorker(first, registration, report, context);
      await compiles.openWorker(first, context);
      const later = { ...report, load: 0.25, isDraining: true };
      await compiles.reportWorker({ ...first, epoch }, later, context);
      await elapse(15_000);
      const [found] = await compiles.workers({ limit: 10 }, context);
      assert.ok(found !== undefined && found.silentMs >= 15_000 && found.silentMs < 20_000);
      assert.deepEqual(found, { workerId: 'w1', epoch, registration, report: later, silentMs: found.silentMs });

      const again = await compiles.registerWorker(first, registration, report, context);
      assert.ok(again > epoch);
      await rejectsWith(compiles.reportWorker({ ...first, epoch }, report, context), 'COMPILE_WORKER_SUPERSEDED');
      assert.ok((await compiles.workers({ limit: 10 }, context))[0]!.silentMs < 5_000);
      await compiles.openWorker(second, context);
      assert.deepEqual(await compiles.workers({ limit: 10 }, context), []);
      await rejectsWith(compiles.registerWorker(first, registration, report, context), 'COMPILE_WORKER_SUPERSEDED');
      await rejectsWith(
        compiles.reportWorker({ ...first, epoch: again }, report, context),
        'COMPILE_WORKER_SUPERSEDED',
      );
      assert.ok((await compiles.registerWorker(second, registration, report, context)) > again);
      await elapse(compileLimits.workerKeptMs + 1_000);
      assert.deepEqual(await compiles.workers({ limit: 10 }, context), []);
    },
  },
  {
    name: 'takes nothing of a worker that is out of its bounds',
    async run({ store: { compiles } }) {
      const worker = { workerId: 'w1', instanceNonce: nonceOf('a') };
      await rejectsWith(compiles.openWorker({ ...worker, workerId: 'a b' }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(compiles.openWorker({ ...worker, instanceNonce: 'ab' }, context), 'STORE_INPUT_INVALID');
      await compiles.openWorker(worker, context);
      const wrong: Partial<CompileWorkerRegistration>[] = [
        { address: 'nowhere' },
        { address: 'host:0' },
        { address: 'host:70000' },
        { certificateSha256: '' },
        { slotsTotal: 0 },
        { architecture: '' },
      ];
      for (const changes of wrong) {
        const said = { ...registration, ...changes };
        await rejectsWith(compiles.registerWorker(worker, said, report, context), 'STORE_INPUT_INVALID');
      }
      const reports: Partial<CompileWorkerReport>[] = [
        { load: Number.NaN },
        { load: 1.5 },
        { slotsFree: -1 },
        { imagesHeld: ['x'] },
      ];
      for (const changes of reports) {
        const said = { ...report, ...changes };
        await rejectsWith(compiles.registerWorker(worker, registration, said, context), 'STORE_INPUT_INVALID');
      }
    },
  },
  {
    name: 'one of several servers adds a key, which signs when all have heard of it, and goes',
    async run({ store: { compiles }, elapse }) {
      const keyOf = (keyId: string) => ({
        ...{ keyId, publicKey: `public ${keyId}`, sealedPrivateKey: `sealed ${keyId}` },
        ...{ signsAfterMs: 60_000, validMs: 200_000 },
      });
      assert.deepEqual(await compiles.keys(context), []);
      await Promise.all(['a', 'b', 'c'].map((keyId) => compiles.addKey(keyOf(keyId), 100_000, context)));
      const [only, ...others] = await compiles.keys(context);
      assert.ok(only !== undefined && others.length === 0);
      assert.ok(only.signsInMs <= 0 && only.expiresInMs > 190_000 && only.ageMs < 10_000);
      assert.deepEqual([only.publicKey, only.sealedPrivateKey], [`public ${only.keyId}`, `sealed ${only.keyId}`]);
      await elapse(110_000);
      const two = await compiles.addKey(keyOf('next'), 100_000, context);
      assert.deepEqual(
        two.map(({ keyId }) => keyId),
        ['next', only.keyId],
      );
      assert.ok(two[0]!.signsInMs > 50_000 && two[0]!.signsInMs <= 60_000);
      await elapse(95_000);
      assert.deepEqual(
        (await compiles.keys(context)).map(({ keyId, signsInMs }) => [keyId, signsInMs <= 0]),
        [['next', true]],
      );
    },
  },
  {
    name: 'counts the tokens that are out, of each tenant and on each worker, and none twice',
    async run({ store: { compiles }, elapse }) {
      let seen: CompileUsage | undefined;
      const take = (tenantId: string, workerId: string, count: number) =>
        compiles.reserve(
          { tenantId, validMs: 120_000 },
          (usage) => {
            seen = usage;
            return count === 0 ? [] : [{ workerId, workerEpoch: 1, count }];
          },
          context,
        );
      const look = async (tenantId: string) => {
        await take(tenantId, '', 0);
        return { ...seen!, workerPlaces: Object.fromEntries(seen!.workerPlaces) };
      };
      await take('studio', 'w1', 3);
      await take('studio', 'w2', 2);
      await take('lab', 'w1', 4);
      const busy = { tenantPlaces: 5, tenantLastMinute: 5, workerPlaces: { w1: 7, w2: 2 }, tenantsActive: 2 };
      assert.deepEqual(await look('studio'), busy);
      const done = recordOf(randomUUID());
      await compiles.recordCompiles([done, recordOf(randomUUID())], context);
      await compiles.recordCompiles([done], context);
      // More ends than tokens, as after a restart of the store: nothing goes below none.
      await compiles.recordCompiles(
        [1, 2, 3].map(() => recordOf(randomUUID(), { workerId: 'w2' })),
        context,
      );
      const less = { tenantPlaces: 1, tenantLastMinute: 5, workerPlaces: { w1: 5 }, tenantsActive: 2 };
      assert.deepEqual(await look('studio'), less);
      await elapse(61_000);
      assert.deepEqual(await look('studio'), { ...less, tenantLastMinute: 0 });
      await elapse(61_000);
      const none = { tenantPlaces: 0, tenantLastMinute: 0, workerPlaces: {}, tenantsActive: 1 };
      assert.deepEqual(await look('studio'), none);
      const refusal = compileTenantNotFound('studio');
      const refused = compiles.reserve(
        { tenantId: 'studio', validMs: 1_000 },
        () => {
          throw refusal;
        },
        context,
      );
      await assert.rejects(refused, refusal);
    },
  },
  {
    name: 'holds a quota however many ask at once',
    async run({ store: { compiles } }) {
      let given = 0;
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          const places = await compiles.reserve(
            { tenantId: 'studio', validMs: 60_000 },
            ({ tenantPlaces }) => {
              const count = Math.min(3, 10 - tenantPlaces);
              return count === 0 ? [] : [{ workerId: 'w1', workerEpoch: 1, count }];
            },
            context,
          );
          for (const { count } of places) given += count;
        }),
      );
      assert.equal(given, 10);
    },
  },
  {
    name: 'keeps records of compiles once, the newest first',
    async run({ store: { compiles } }) {
      const [one, two, three] = [
        recordOf(randomUUID()),
        recordOf(randomUUID(), { tenantId: 'lab', startedAtMs: 1_000 }),
        recordOf(randomUUID(), { workerId: 'w2' }),
      ];
      await compiles.recordCompiles([one, two], context);
      await compiles.recordCompiles([two, three, three], context);
      const all = await compiles.records({ limit: 10 }, context);
      assert.deepEqual(
        all.map(({ recordId: _, ...rest }) => rest),
        [three, two, one],
      );
      const rest = await compiles.records({ before: all[0]!.recordId, limit: 1 }, context);
      assert.deepEqual(rest, [all[1]]);
      assert.deepEqual(await compiles.records({ tenantId: 'lab', limit: 10 }, context), [all[1]]);
      assert.deepEqual(await compiles.records({ workerId: 'w2', limit: 10 }, context), [all[0]]);
      await rejectsWith(compiles.recordCompiles([recordOf('x')], context), 'STORE_INPUT_INVALID');
      await rejectsWith(
        compiles.recordCompiles(
          Array.from({ length: 1_001 }, () => one),
          context,
        ),
        'STORE_CALL_TOO_LARGE',
      );
    },
  },
];
