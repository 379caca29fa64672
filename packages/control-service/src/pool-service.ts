import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { changeFrom } from '@drover/access';
import {
  CreatePoolResponseSchema,
  DeletePoolResponseSchema,
  GetPoolResponseSchema,
  GetScaleHintsResponseSchema,
  ListPoolsResponseSchema,
  PoolSchema,
  PoolService,
  PoolWarningSchema,
  ScaleHintSchema,
  ScaleSizeSchema,
  UpdatePoolResponseSchema,
  type Pool,
  type PoolWarning,
  type ScaleHint,
} from '@drover/control-api';
import type { FleetPolicy } from '@drover/fleet-policy';
import { DroverError } from '@drover/lease-kit';
import { poolKey } from '@drover/lease-matching';
import {
  poolNotFound,
  type LeaseQueue,
  type PoolDraft,
  type PoolRecord,
  type PoolStore,
  type StoreContext,
  type StoreSignals,
} from '@drover/lease-store';
import type { UnaryCall } from './control-service-options.ts';
import { readFleet, type FleetReaderDeps } from './fleet-reader.ts';
import { idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';
import type { PoolHint, ScaleHints } from './scale-hints.ts';

/** What the service of pools works with. */
export interface PoolServiceDeps extends FleetReaderDeps {
  readonly pools: PoolStore;
  readonly queue: Pick<LeaseQueue, 'waitingWork'>;
  readonly signals: StoreSignals;
  readonly policy: FleetPolicy & { refresh?(): Promise<void> };
  readonly hints: ScaleHints;
}

const shownMax = 1_000;

/** Puts drover.control.v1.PoolService on a router. */
export function registerPoolService(router: ConnectRouter, deps: PoolServiceDeps, unary: UnaryCall): void {
  /** Writes, tells every server, and answers when this one has followed. */
  const change = async <T>(context: HandlerContext, name: string, write: () => Promise<T>, call: StoreContext) => {
    const before = await poolNamed(deps, name, call);
    const result = await write();
    deps.signals.announce({ kind: 'settings' });
    await deps.policy.refresh?.();
    const after = await poolNamed(deps, name, call);
    changeFrom(context.values)?.note({
      subject: `pool:${name.trim()}`,
      ...(before === undefined ? {} : { before: noteOf(before) }),
      ...(after === undefined ? {} : { after: noteOf(after) }),
    });
    return result;
  };
  router.service(PoolService, {
    listPools: (request, context) =>
      unary(context, async (call) => {
        const limit = pageSizeOf(request.pageSize, 100, 500);
        const after = idFromPageToken(request.pageToken);
        const pools = await deps.pools.pools(after === undefined ? { limit } : { after, limit }, call);
        const nextPageToken = pools.length < limit ? '' : pageTokenOf(pools.at(-1)!.name);
        return create(ListPoolsResponseSchema, { pools: pools.map(poolToWire), nextPageToken });
      }),
    getPool: (request, context) =>
      unary(context, async (call) => {
        const record = await poolNamed(deps, request.name, call);
        if (record === undefined) throw poolNotFound(request.name);
        const members = await membersOf(deps, record.name, call);
        const waiting = await waitingFor(deps, record.name, call);
        return create(GetPoolResponseSchema, {
          pool: poolToWire(record),
          agentIds: members.slice(0, shownMax),
          agents: members.length,
          leasesWaiting: waiting.leases,
          ...(waiting.leases === 0
            ? {}
            : { longestWait: durationFromMs(Math.max(0, Date.now() - waiting.oldestAtMs)) }),
        });
      }),
    createPool: (request, context) =>
      unary(context, async (call) => {
        const draft = draftOf(request.pool);
        const pool = await change(context, draft.name, () => deps.pools.createPool(draft, call), call);
        return create(CreatePoolResponseSchema, {
          pool: poolToWire(pool),
          warnings: await warningsOf(deps, pool, call),
        });
      }),
    updatePool: (request, context) =>
      unary(context, async (call) => {
        const draft = draftOf(request.pool);
        const pool = await change(context, draft.name, () => deps.pools.replacePool(draft, call), call);
        return create(UpdatePoolResponseSchema, {
          pool: poolToWire(pool),
          warnings: await warningsOf(deps, pool, call),
        });
      }),
    deletePool: (request, context) =>
      unary(context, async (call) => {
        if ((await poolNamed(deps, request.name, call)) === undefined) throw poolNotFound(request.name);
        const { leases } = await waitingFor(deps, request.name, call);
        if (leases > 0 && !request.force) throw poolInUse(request.name, leases);
        await change(context, request.name, () => deps.pools.deletePool(request.name, call), call);
        return create(DeletePoolResponseSchema, { leasesWaiting: leases });
      }),
    getScaleHints: (request, context) =>
      unary(context, async (call) => {
        const all = await deps.hints.read(call);
        const wanted = poolKey(request.pool);
        const hints = wanted === '' ? all : all.filter(({ pool }) => pool !== undefined && poolKey(pool) === wanted);
        if (wanted !== '' && hints.length === 0) throw poolNotFound(request.pool);
        return create(GetScaleHintsResponseSchema, { hints: hints.map(hintToWire) });
      }),
  });
}

function poolInUse(name: string, leases: number): DroverError {
  return new DroverError({
    code: 'POOL_IN_USE',
    advice: 'conflict',
    message: `${leases === 1 ? '1 lease waits' : `${leases} leases wait`} for pool ${JSON.stringify(name)}: without it nobody takes them but agents that ask to be in it. Delete it with force, or cancel them first.`,
    details: { pool: name, leases },
  });
}

async function poolNamed(
  { pools }: PoolServiceDeps,
  name: string,
  call: StoreContext,
): Promise<PoolRecord | undefined> {
  const key = poolKey(name);
  for (let after: string | undefined; ;) {
    const page = await pools.pools(after === undefined ? { limit: 500 } : { after, limit: 500 }, call);
    const found = page.find((one) => poolKey(one.name) === key);
    if (found !== undefined || page.length < 500) return found;
    after = page.at(-1)!.name;
  }
}

async function membersOf(deps: PoolServiceDeps, name: string, call: StoreContext): Promise<string[]> {
  const key = poolKey(name);
  const fleet = await readFleet(deps, call);
  return fleet
    .filter(({ traits }) => traits.pools.some((pool) => poolKey(pool) === key))
    .map(({ record }) => record.agentId);
}

async function waitingFor(
  { queue }: PoolServiceDeps,
  name: string,
  call: StoreContext,
): Promise<{ readonly leases: number; readonly oldestAtMs: number }> {
  let leases = 0;
  let oldestAtMs = Infinity;
  for (const work of await queue.waitingWork(call)) {
    if (work.requirements.pool === undefined || poolKey(work.requirements.pool) !== poolKey(name)) continue;
    leases += work.leases;
    oldestAtMs = Math.min(oldestAtMs, work.oldestAtMs);
  }
  return { leases, oldestAtMs };
}

async function warningsOf(deps: PoolServiceDeps, { name }: PoolRecord, call: StoreContext): Promise<PoolWarning[]> {
  if ((await membersOf(deps, name, call)).length > 0) return [];
  const message = `pool ${name} matches none of the agents known; it fills when one comes that does match`;
  return [create(PoolWarningSchema, { code: 'POOL_MATCHES_NOBODY', message })];
}

function draftOf(pool: Pool | undefined): PoolDraft {
  if (pool === undefined) throw inputInvalid('POOL_INVALID', 'pool', 'it is missing', 'a pool');
  const { name, agentIds, condition, weights, comment } = pool;
  // An empty list and no condition is a pool of nobody, which is allowed: agents may ask to be in it.
  return {
    name,
    ...(agentIds.length > 0 || condition === '' ? { agents: agentIds } : {}),
    ...(condition === '' ? {} : { condition }),
    ...(Object.keys(weights).length === 0 ? {} : { weights }),
    comment,
  };
}

function poolToWire(pool: PoolRecord): Pool {
  const { name, agents = [], condition = '', weights = {}, comment, changedBy } = pool;
  const changedAt = timestampFromMs(pool.changedAtMs);
  return create(PoolSchema, {
    name,
    agentIds: [...agents],
    condition,
    weights: { ...weights },
    comment,
    changedBy,
    changedAt,
  });
}

function noteOf({ agents, condition, weights, comment }: PoolRecord): Record<string, unknown> {
  return {
    ...(agents === undefined ? {} : { agents: agents.slice(0, 20) }),
    condition,
    ...(weights === undefined ? {} : { weights: Object.fromEntries(Object.entries(weights).slice(0, 20)) }),
    comment,
  };
}

function hintToWire(hint: PoolHint): ScaleHint {
  const counts = (resources: Readonly<Record<string, number>>): Record<string, bigint> =>
    Object.fromEntries(Object.entries(resources).map(([name, count]) => [name, BigInt(count)]));
  return create(ScaleHintSchema, {
    pool: hint.pool ?? '',
    leasesWaiting: hint.leasesWaiting,
    ...(hint.leasesWaiting === 0 ? {} : { longestWait: durationFromMs(Math.max(0, Math.round(hint.longestWaitMs))) }),
    leasesNobodyCanTake: hint.leasesNobodyCanTake,
    agentsWorking: hint.agentsWorking,
    agentsIdle: hint.agentsIdle,
    sizes: hint.sizes.map(({ resources, ...size }) =>
      create(ScaleSizeSchema, { ...size, resources: counts(resources) }),
    ),
  });
}
