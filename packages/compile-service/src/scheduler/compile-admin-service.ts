import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { callerFrom, changeFrom } from '@drover/access';
import {
  CompileAdminService,
  CompileEntrySchema,
  CompileTenantSchema,
  CompileWorkerSchema,
  ListCompilesResponseSchema,
  ListCompileTenantsResponseSchema,
  ListCompileWorkersResponseSchema,
  PutCompileTenantResponseSchema,
  RemoveCompileTenantResponseSchema,
  type CompileTenant,
} from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import {
  isolationLevels,
  type CompileRecord,
  type CompileTenantDraft,
  type CompileTenantRecord,
  type CompileWorkerRecord,
  type IsolationLevel,
  type StoreContext,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { silentMsMax } from './choose-places.ts';
import type { CompileScheduler } from './compile-scheduler.ts';

/** Who works together in the service. */
export interface CompileAdminServiceDeps {
  readonly scheduler: CompileScheduler;
}

const pageSizeMax = 1_000;

/** Puts drover.control.v1.CompileAdminService on a router. Callers come through the gate of `@drover/access`. */
export function registerCompileAdminService(
  router: ConnectRouter,
  { scheduler }: CompileAdminServiceDeps,
): ConnectRouter {
  const { store } = scheduler;
  const answer = async <T>(context: HandlerContext, run: (call: StoreContext) => Promise<T>): Promise<T> => {
    try {
      const { principal } = callerFrom(context.values);
      const change = changeFrom(context.values);
      return await run({ principal, signal: context.signal, ...(change === undefined ? {} : { change }) });
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(CompileAdminService, {
    listCompileTenants: (request, context) =>
      answer(context, async (call) => {
        const { limit, last } = pageOf(request);
        const found = await store.tenants({ limit, ...(last === undefined ? {} : { after: last }) }, call);
        const nextPageToken = found.length < limit ? '' : tokenOf(found.at(-1)!.tenantId);
        return create(ListCompileTenantsResponseSchema, { tenants: found.map(tenantOnWire), nextPageToken });
      }),
    putCompileTenant: (request, context) =>
      answer(context, async (call) => {
        const record = await store.putTenant(draftFrom(request.tenant), call);
        scheduler.forgetTenants();
        return create(PutCompileTenantResponseSchema, { tenant: tenantOnWire(record) });
      }),
    removeCompileTenant: (request, context) =>
      answer(context, async (call) => {
        await store.removeTenant(request.tenantId, call);
        scheduler.forgetTenants();
        return create(RemoveCompileTenantResponseSchema);
      }),
    listCompileWorkers: (request, context) =>
      answer(context, async (call) => {
        const { limit, last } = pageOf(request);
        const found = await store.workers({ limit, ...(last === undefined ? {} : { after: last }) }, call);
        const nextPageToken = found.length < limit ? '' : tokenOf(found.at(-1)!.workerId);
        return create(ListCompileWorkersResponseSchema, { workers: found.map(workerOnWire), nextPageToken });
      }),
    listCompiles: (request, context) =>
      answer(context, async (call) => {
        const { limit, last } = pageOf(request);
        const { tenantId, workerId } = request;
        const found = await store.records(
          {
            limit,
            ...(last === undefined ? {} : { before: last }),
            ...(tenantId === '' ? {} : { tenantId }),
            ...(workerId === '' ? {} : { workerId }),
          },
          call,
        );
        const nextPageToken = found.length < limit ? '' : tokenOf(found.at(-1)!.recordId);
        return create(ListCompilesResponseSchema, { compiles: found.map(entryOnWire), nextPageToken });
      }),
  });
}

/** A page token is the last id of the page before, so that it means nothing to a caller. */
function pageOf({ pageSize, pageToken }: { readonly pageSize: number; readonly pageToken: string }) {
  if (pageSize > pageSizeMax) throw invalid('page_size', String(pageSize), `1 to ${pageSizeMax}`);
  const last = Buffer.from(pageToken, 'base64url').toString('utf8');
  if (tokenOf(last) !== pageToken || last.length > 256) {
    throw invalid('page_token', 'it is none', 'the next_page_token of the answer before');
  }
  return { limit: pageSize === 0 ? 200 : pageSize, last: last === '' ? undefined : last };
}

function tokenOf(lastId: string): string {
  return Buffer.from(lastId, 'utf8').toString('base64url');
}

function draftFrom(tenant: CompileTenant | undefined): CompileTenantDraft {
  if (tenant === undefined) throw invalid('tenant', 'there is none', 'a tenant');
  const isolation = tenant.isolation === '' ? 'namespaces' : tenant.isolation;
  if (!isLevel(isolation)) {
    throw invalid('isolation', JSON.stringify(isolation.slice(0, 32)), isolationLevels.join(', '));
  }
  const { tenantId, issuer, audience, claim, claimValue, clientId, tokenUrl, scope, users, images, workers } = tenant;
  return {
    ...{ tenantId, issuer, audience, claim, claimValue, clientId, tokenUrl, scope, isolation },
    users: [...new Set(users)],
    images: [...new Set(images)],
    workers: [...new Set(workers)],
    isEnabled: !tenant.disabled,
    compilesAtOnceMax: tenant.compilesAtOnceMax || 1_024,
    compilesPerMinuteMax: tenant.compilesPerMinuteMax || 60_000,
  };
}

function isLevel(word: string): word is IsolationLevel {
  return (isolationLevels as readonly string[]).includes(word);
}

function tenantOnWire({ isEnabled, changedAtMs, users, images, workers, ...rest }: CompileTenantRecord) {
  return create(CompileTenantSchema, {
    ...rest,
    users: [...users],
    images: [...images],
    workers: [...workers],
    disabled: !isEnabled,
    changedAt: timestampFromMs(changedAtMs),
  });
}

function workerOnWire({ workerId, epoch, registration, report, silentMs }: CompileWorkerRecord) {
  const { certificateSha256, isParanoid, facts, ...said } = registration;
  const { isDraining, imagesHeld, imagesAdvertised, sandboxes, ...now } = report;
  return create(CompileWorkerSchema, {
    ...said,
    ...now,
    workerId,
    epoch: BigInt(epoch),
    certificateSha256: new Uint8Array(Buffer.from(certificateSha256, 'hex')),
    facts: { ...facts },
    paranoid: isParanoid,
    imagesHeld: [...imagesHeld],
    imagesAdvertised: [...imagesAdvertised],
    sandboxes: sandboxes.map((sandbox) => ({ ...sandbox })),
    draining: isDraining,
    silent: durationFromMs(silentMs),
    alive: silentMs < silentMsMax,
  });
}

function entryOnWire({ recordId: _, flags, startedAtMs, tookMs, ...rest }: CompileRecord) {
  return create(CompileEntrySchema, {
    ...rest,
    flags: [...flags],
    took: durationFromMs(tookMs),
    startedAt: timestampFromMs(startedAtMs),
  });
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'COMPILE_INPUT_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
