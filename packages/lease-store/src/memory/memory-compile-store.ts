import { principalName } from '@drover/lease-kit';
import {
  auditedCompileTenant,
  checkCompilePlaces,
  checkCompileRecordQuery,
  checkCompileRecords,
  checkCompileTenant,
  checkCompileWorkerRef,
  checkCompileWorkerRegistration,
  checkCompileWorkerReport,
  compileLimits,
  compileTenantNotFound,
  compileTenantsFull,
  compileWorkersFull,
  compileWorkerSuperseded,
} from '../check-compile-input.ts';
import { checkPage } from '../check-fleet-input.ts';
import type {
  CompileKeyRecord,
  CompileRecord,
  CompileStore,
  CompileTenantRecord,
  CompileWorkerRecord,
} from '../compile-store.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { MemoryData } from './memory-data.ts';

interface MemoryWorker {
  nonce: string;
  heardAtMs: number;
  registered: Omit<CompileWorkerRecord, 'silentMs'> | undefined;
}

interface MemoryPlaces {
  readonly tenantId: string;
  readonly workerId: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  readonly count: number;
  left: number;
}

type MemoryKey = Pick<CompileKeyRecord, 'keyId' | 'publicKey' | 'sealedPrivateKey'> & {
  readonly createdAtMs: number;
  readonly signsAtMs: number;
  readonly expiresAtMs: number;
};

/** Records that are kept, the newest ones. */
const recordsMax = 10_000;
const minuteMs = 60_000;

/** The compile farm of a memory store. */
export function memoryCompileStore(data: MemoryData, audit: MemoryAudit): CompileStore {
  const tenants = new Map<string, CompileTenantRecord>();
  const workers = new Map<string, MemoryWorker>();
  const records: CompileRecord[] = [];
  let places: MemoryPlaces[] = [];
  let keys: MemoryKey[] = [];
  let epoch = 0;
  let recordId = 0;
  const now = (): number => data.clock.wallMs();

  const keysNow = (): CompileKeyRecord[] => {
    keys = keys.filter(({ expiresAtMs }) => expiresAtMs > now());
    return keys.map(({ createdAtMs, signsAtMs, expiresAtMs, ...key }) => ({
      ...key,
      ageMs: now() - createdAtMs,
      signsInMs: signsAtMs - now(),
      expiresInMs: expiresAtMs - now(),
    }));
  };
  const forgetSilent = (): void => {
    for (const [id, { heardAtMs }] of workers) {
      if (heardAtMs + compileLimits.workerKeptMs <= now()) workers.delete(id);
    }
  };

  return {
    tenants: async (page, context) => {
      data.enter(context);
      checkPage(page);
      return [...tenants.values()]
        .filter(({ tenantId }) => tenantId > (page.after ?? ''))
        .sort((a, b) => (a.tenantId < b.tenantId ? -1 : 1))
        .slice(0, page.limit);
    },
    putTenant: async (draft, context) => {
      data.enter(context);
      checkCompileTenant(draft);
      const before = tenants.get(draft.tenantId);
      if (before === undefined && tenants.size >= compileLimits.tenantsMax) throw compileTenantsFull();
      const record = { ...draft, changedBy: principalName(context.principal), changedAtMs: now() };
      tenants.set(draft.tenantId, record);
      audit.write(context, {
        subject: `compile-tenant:${draft.tenantId}`,
        ...(before === undefined ? {} : { before: auditedCompileTenant(before) }),
        after: auditedCompileTenant(draft),
      });
      return record;
    },
    removeTenant: async (tenantId, context) => {
      data.enter(context);
      const record = tenants.get(tenantId);
      if (record === undefined) throw compileTenantNotFound(tenantId);
      tenants.delete(tenantId);
      audit.write(context, { subject: `compile-tenant:${tenantId}`, before: auditedCompileTenant(record) });
    },
    openWorker: async (worker, context) => {
      data.enter(context);
      checkCompileWorkerRef(worker);
      forgetSilent();
      const known = workers.get(worker.workerId);
      if (known?.nonce === worker.instanceNonce) return;
      if (known === undefined && workers.size >= compileLimits.workersMax) throw compileWorkersFull();
      workers.set(worker.workerId, { nonce: worker.instanceNonce, heardAtMs: now(), registered: undefined });
    },
    registerWorker: async (worker, registration, report, context) => {
      data.enter(context);
      checkCompileWorkerRef(worker);
      checkCompileWorkerRegistration(registration);
      checkCompileWorkerReport(report);
      const known = workers.get(worker.workerId);
      if (known?.nonce !== worker.instanceNonce) throw compileWorkerSuperseded(worker.workerId);
      epoch += 1;
      known.heardAtMs = now();
      known.registered = structuredClone({ workerId: worker.workerId, epoch, registration, report });
      return epoch;
    },
    reportWorker: async (worker, report, context) => {
      data.enter(context);
      checkCompileWorkerRef(worker);
      checkCompileWorkerReport(report);
      const known = workers.get(worker.workerId);
      if (known?.nonce !== worker.instanceNonce || known.registered?.epoch !== worker.epoch) {
        throw compileWorkerSuperseded(worker.workerId);
      }
      known.heardAtMs = now();
      known.registered = { ...known.registered, report: structuredClone(report) };
    },
    workers: async (page, context) => {
      data.enter(context);
      checkPage(page);
      forgetSilent();
      return [...workers.values()]
        .flatMap(({ registered, heardAtMs }) =>
          registered === undefined ? [] : [{ ...registered, silentMs: now() - heardAtMs }],
        )
        .filter(({ workerId }) => workerId > (page.after ?? ''))
        .sort((a, b) => (a.workerId < b.workerId ? -1 : 1))
        .slice(0, page.limit);
    },
    keys: async (context) => {
      data.enter(context);
      return keysNow();
    },
    addKey: async ({ signsAfterMs, validMs, ...key }, unlessYoungerMs, context) => {
      data.enter(context);
      const known = keysNow();
      if (known.some(({ ageMs }) => ageMs < unlessYoungerMs)) return known;
      const signsAtMs = now() + (known.length === 0 ? 0 : signsAfterMs);
      keys = [{ ...key, createdAtMs: now(), signsAtMs, expiresAtMs: now() + validMs }, ...keys];
      keys.length = Math.min(keys.length, compileLimits.keysMax);
      return keysNow();
    },
    reserve: async ({ tenantId, validMs }, choose, context) => {
      data.enter(context);
      places = places.filter((one) => one.expiresAtMs > now() || one.issuedAtMs > now() - minuteMs);
      const live = places.filter((one) => one.expiresAtMs > now() && one.left > 0);
      const workerPlaces = new Map<string, number>();
      for (const { workerId, left } of live) workerPlaces.set(workerId, (workerPlaces.get(workerId) ?? 0) + left);
      const ofTenant = (one: MemoryPlaces): boolean => one.tenantId === tenantId;
      const chosen = choose({
        tenantPlaces: live.filter(ofTenant).reduce((sum, { left }) => sum + left, 0),
        tenantLastMinute: places
          .filter((one) => ofTenant(one) && one.issuedAtMs > now() - minuteMs)
          .reduce((sum, { count }) => sum + count, 0),
        workerPlaces,
        tenantsActive: new Set([tenantId, ...live.map((one) => one.tenantId)]).size,
      });
      checkCompilePlaces(chosen);
      for (const { workerId, count } of chosen) {
        places.push({ tenantId, workerId, issuedAtMs: now(), expiresAtMs: now() + validMs, count, left: count });
      }
      return chosen;
    },
    recordCompiles: async (drafts, context) => {
      data.enter(context);
      checkCompileRecords(drafts);
      for (const draft of drafts) {
        const isKnown = records.some((one) => one.compileId === draft.compileId);
        if (isKnown) continue;
        recordId += 1;
        records.push({ ...structuredClone(draft), recordId: String(recordId) });
        const place = places
          .filter((one) => one.tenantId === draft.tenantId && one.workerId === draft.workerId && one.left > 0)
          .sort((a, b) => a.issuedAtMs - b.issuedAtMs)[0];
        if (place !== undefined) place.left -= 1;
      }
      records.splice(0, Math.max(0, records.length - recordsMax));
    },
    records: async (query, context) => {
      data.enter(context);
      checkCompileRecordQuery(query);
      const { before, tenantId, workerId, limit } = query;
      return records
        .filter((one) => before === undefined || Number(one.recordId) < Number(before))
        .filter((one) => tenantId === undefined || one.tenantId === tenantId)
        .filter((one) => workerId === undefined || one.workerId === workerId)
        .slice(-limit)
        .reverse();
    },
  };
}
