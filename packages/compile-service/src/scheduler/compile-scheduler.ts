import { signTaskToken } from '@drover/compile-tokens';
import {
  DroverError,
  silentLogger,
  silentMeter,
  systemClock,
  type Clock,
  type Logger,
  type Meter,
  type Principal,
} from '@drover/lease-kit';
import type { CompileStore, CompileTenantRecord, CompileWorkerRecord, StoreContext } from '@drover/lease-store';
import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import { choosePlaces, misfitOf, silentMsMax, type Misfit, type WantedPlaces } from './choose-places.ts';
import { Fresh } from './fresh.ts';
import { SchedulerKeys } from './scheduler-keys.ts';
import { WorkerSessions } from './worker-session.ts';

/** How a scheduler works. */
export interface CompileSchedulerOptions {
  /** What workers open sessions with; absent: none can. */
  readonly workerToken?: string;
  /** Seals the keys in the store, the same on every server. Absent: they are open there. */
  readonly sealSecret?: string;
  /** How long a task token is valid, in ms. Default 2 min. */
  readonly taskTokenMs?: number;
  /** How long a worker's session lasts without a heartbeat, in ms. Default 10 min. */
  readonly sessionMs?: number;
  /** How long one key signs, in ms. Default 1 day. */
  readonly keyRotateMs?: number;
}

/** Who works together in a scheduler. */
export interface CompileSchedulerDeps {
  readonly store: CompileStore;
  /** Default: that of the process. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
  /** Default: nothing is measured. */
  readonly meter?: Meter;
}

/** A place on a worker, with tokens for it. */
export interface IssuedPlace {
  readonly worker: CompileWorkerRecord;
  readonly taskTokens: readonly string[];
  readonly validMs: number;
}

/** How often a worker is to be heard, in ms. */
export const heartbeatMs = 10_000;
const pageSize = 1_000;
const freshMs = 1_000;

/**
 * Brings clients and workers together. It holds nothing but copies of a second's age of what stands in the store: every server
 * of a fleet is the same scheduler, and one that starts anew goes on where another was.
 */
export class CompileScheduler {
  readonly store: CompileStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly keys: SchedulerKeys;
  readonly sessions: WorkerSessions;
  readonly #taskTokenMs: number;
  readonly #workerToken: Buffer | undefined;
  readonly #tenants: Fresh<ReadonlyMap<string, CompileTenantRecord>>;
  readonly #workers: Fresh<readonly CompileWorkerRecord[]>;
  readonly #issued;
  readonly #refused;

  constructor(options: CompileSchedulerOptions, deps: CompileSchedulerDeps) {
    const { store, clock = systemClock, logger = silentLogger, meter = silentMeter } = deps;
    const principal: Principal = { kind: 'service', id: 'compile-scheduler' };
    const { sealSecret, taskTokenMs = 120_000, sessionMs = 600_000, keyRotateMs = 86_400_000 } = options;
    this.store = store;
    this.clock = clock;
    this.logger = logger;
    this.#taskTokenMs = taskTokenMs;
    this.#workerToken = options.workerToken === undefined ? undefined : hash(options.workerToken);
    const validMs = Math.max(taskTokenMs, sessionMs) + 60_000;
    this.keys = new SchedulerKeys({ store, clock, principal, sealSecret, rotateMs: keyRotateMs, validMs });
    this.sessions = new WorkerSessions(sessionMs, { keys: this.keys, clock });
    this.#tenants = new Fresh(freshMs, clock, async () => {
      const tenants = await store.tenants({ limit: pageSize }, { principal });
      return new Map(tenants.map((tenant) => [tenant.tenantId, tenant]));
    });
    this.#workers = new Fresh(freshMs, clock, () => store.workers({ limit: pageSize }, { principal }));
    this.#issued = meter.createCounter('drover_compile_task_tokens_total', {
      description: 'Task tokens that were issued.',
    });
    this.#refused = meter.createCounter('drover_compile_refusals_total', {
      description: 'Calls for task tokens that got none, by why.',
    });
    this.#observe(meter);
  }

  /** True for the token that workers open sessions with. Throws `COMPILE_DISABLED` where there is none. */
  isWorkerToken(shown: string): boolean {
    if (this.#workerToken === undefined) {
      throw new DroverError({
        code: 'COMPILE_DISABLED',
        advice: 'denied',
        message: 'This fleet has no compile farm: compile.worker_token is not set.',
      });
    }
    // Hashes have one length, which timingSafeEqual asks for.
    return timingSafeEqual(hash(shown), this.#workerToken);
  }

  /** All tenants by id, a second old at most. */
  tenants(): Promise<ReadonlyMap<string, CompileTenantRecord>> {
    return this.#tenants.value();
  }

  /** The next question for tenants asks the store. */
  forgetTenants(): void {
    this.#tenants.forget();
  }

  /**
   * Chooses workers and signs a token for each compile; empty where nothing is free. Throws `COMPILE_QUOTA_REACHED`
   * (`exhausted`), `COMPILE_WORKERS_NONE` (`unavailable`) where no worker fits, and `COMPILE_IMAGE_DENIED`.
   */
  async reserve(wanted: WantedPlaces, context: StoreContext): Promise<readonly IssuedPlace[]> {
    try {
      const places = await this.#reserve(wanted, context);
      const count = places.reduce((sum, { taskTokens }) => sum + taskTokens.length, 0);
      if (count === 0) this.#refused.add(1, { reason: 'COMPILE_SLOTS_NONE' });
      else this.#issued.add(count);
      return places;
    } catch (error) {
      if (error instanceof DroverError) this.#refused.add(1, { reason: error.code });
      throw error;
    }
  }

  async #reserve(wanted: WantedPlaces, context: StoreContext): Promise<readonly IssuedPlace[]> {
    const { tenant, imageDigest } = wanted;
    if (tenant.images.length > 0 && !tenant.images.includes(imageDigest))
      throw imageDenied(tenant.tenantId, imageDigest);
    const { value, ageMs } = await this.#workers.aged();
    const workers = value.map((worker) => ({ ...worker, silentMs: worker.silentMs + ageMs }));
    const misfits = workers.map((worker) => misfitOf(wanted, worker));
    if (misfits.every((misfit) => misfit !== undefined)) throw noWorkerFits(misfits);
    const chosen = await this.store.reserve(
      { tenantId: tenant.tenantId, validMs: this.#taskTokenMs },
      (usage) => choosePlaces(wanted, workers, usage),
      context,
    );
    const signer = await this.keys.signer();
    const issuedAtMs = this.clock.wallMs();
    const byId = new Map(workers.map((worker) => [worker.workerId, worker]));
    return Promise.all(
      chosen.map(async ({ workerId, workerEpoch, count }) => {
        const said = { tenantId: tenant.tenantId, imageDigest, workerId, workerEpoch };
        const times = { issuedAtMs, expiresAtMs: issuedAtMs + this.#taskTokenMs };
        const taskTokens = await Promise.all(
          Array.from({ length: count }, () => signTaskToken({ ...said, ...times, tokenId: randomUUID() }, signer)),
        );
        return { worker: byId.get(workerId)!, taskTokens, validMs: this.#taskTokenMs };
      }),
    );
  }

  #observe(meter: Meter): void {
    const workers = meter.createObservableGauge('drover_compile_workers', { description: 'Workers, by how they are.' });
    workers.addCallback(async (observation) => {
      const { value, ageMs } = await this.#workers.aged();
      const counts = { ready: 0, draining: 0, silent: 0 };
      for (const { silentMs, report } of value) {
        counts[silentMs + ageMs >= silentMsMax ? 'silent' : report.isDraining ? 'draining' : 'ready'] += 1;
      }
      for (const [state, count] of Object.entries(counts)) observation.observe(count, { state });
    });
    const slots = meter.createObservableGauge('drover_compile_slots_free', {
      description: 'Free slots of the workers that are ready.',
    });
    slots.addCallback(async (observation) => {
      const { value, ageMs } = await this.#workers.aged();
      const ready = value.filter(({ silentMs, report }) => silentMs + ageMs < silentMsMax && !report.isDraining);
      observation.observe(ready.reduce((sum, { report }) => sum + report.slotsFree, 0));
    });
  }
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function imageDenied(tenantId: string, imageDigest: string): DroverError {
  return new DroverError({
    code: 'COMPILE_IMAGE_DENIED',
    advice: 'denied',
    message: `The tenant ${tenantId} may not use the image ${imageDigest}.`,
    details: { tenantId, imageDigest },
  });
}

function noWorkerFits(misfits: readonly (Misfit | undefined)[]): DroverError {
  const counts = new Map<string, number>();
  for (const misfit of misfits) if (misfit !== undefined) counts.set(misfit, (counts.get(misfit) ?? 0) + 1);
  const why = [...counts].map(([misfit, count]) => `${count} ${misfit}`).join(', ');
  return new DroverError({
    code: 'COMPILE_WORKERS_NONE',
    advice: 'unavailable',
    message: misfits.length === 0 ? 'No worker has registered.' : `None of ${misfits.length} workers fits: ${why}.`,
    retryAfterMs: heartbeatMs,
  });
}
