import { DroverError } from '@drover/lease-kit';
import {
  isolationLevels,
  type CompilePlaceDraft,
  type CompileTenantRecord,
  type CompileUsage,
  type CompileWorkerRecord,
} from '@drover/lease-store';

/** Places that somebody wants for a tenant. */
export interface WantedPlaces {
  readonly tenant: CompileTenantRecord;
  readonly imageDigest: string;
  readonly count: number;
  /** Ids of workers that just failed. */
  readonly avoid: ReadonlySet<string>;
  readonly isParanoid: boolean;
  /** Empty: any. */
  readonly architecture: string;
}

/** What is out of the question, in the order in which it is looked at. */
export type Misfit =
  | 'silent'
  | 'draining'
  | 'not the tenant’s'
  | 'other architecture'
  | 'isolated too little'
  | 'paranoid mode differs'
  | 'no image';

/** A worker that was not heard for so long is not chosen: two heartbeats. */
export const silentMsMax = 20_000;
/**
 * Tokens that may be out for each slot of a worker: clients fetch them in advance, and a slot is used by many within the life
 * of a token.
 */
export const tokensPerSlot = 16;

/** Why a worker is out of the question for a compile; undefined: it is not. */
export function misfitOf(wanted: WantedPlaces, worker: CompileWorkerRecord): Misfit | undefined {
  const { tenant, imageDigest, isParanoid, architecture } = wanted;
  const { registration, report, silentMs, workerId } = worker;
  if (silentMs >= silentMsMax) return 'silent';
  if (report.isDraining) return 'draining';
  if (tenant.workers.length > 0 && !tenant.workers.includes(workerId)) return 'not the tenant’s';
  if (architecture !== '' && registration.architecture !== architecture) return 'other architecture';
  if (isolationLevels.indexOf(registration.isolation) < isolationLevels.indexOf(tenant.isolation)) {
    return 'isolated too little';
  }
  if (registration.isParanoid !== isParanoid) return 'paranoid mode differs';
  const has = report.imagesHeld.includes(imageDigest) || report.imagesAdvertised.includes(imageDigest);
  return has ? undefined : 'no image';
}

/**
 * Which workers get how many of the wanted compiles, the best first; none where nothing is free. Only workers that fit, never
 * more than their tokens, and one that is to be avoided only where no other has room. When tenants compete, each gets its equal
 * part, and beyond that half of what is free at most, so that whoever comes later finds room. Throws `COMPILE_QUOTA_REACHED`
 * (`exhausted`).
 */
export function choosePlaces(
  wanted: WantedPlaces,
  workers: readonly CompileWorkerRecord[],
  usage: CompileUsage,
): CompilePlaceDraft[] {
  const within = withinQuotas(wanted, usage);
  const rooms = workers
    .filter((worker) => misfitOf(wanted, worker) === undefined)
    .map((worker) => roomOf(wanted, worker, usage.workerPlaces.get(worker.workerId) ?? 0));
  const capacity = rooms.reduce((sum, { worker }) => sum + worker.registration.slotsTotal * tokensPerSlot, 0);
  const free = rooms.reduce((sum, room) => sum + room.free, 0);
  const count = fairCount(Math.min(within, free), { capacity, free, usage });
  for (let given = 0; given < count; given += 1) {
    let best: Room | undefined;
    for (const room of rooms) if (room.free > 0 && (best === undefined || costOf(room) < costOf(best))) best = room;
    best!.free -= 1;
    best!.given += 1;
  }
  return rooms
    .filter(({ given }) => given > 0)
    .sort((a, b) => b.given - a.given)
    .map(({ worker: { workerId, epoch: workerEpoch }, given: count }) => ({ workerId, workerEpoch, count }));
}

interface Room {
  readonly worker: CompileWorkerRecord;
  /** What speaks against it before any of its slots is taken: in slots of it that wait. */
  readonly penalty: number;
  /** Compiles that it has, or has been promised. */
  readonly busy: number;
  free: number;
  given: number;
}

function roomOf({ tenant, imageDigest, avoid }: WantedPlaces, worker: CompileWorkerRecord, out: number): Room {
  const { registration, report, workerId } = worker;
  const { slotsTotal } = registration;
  const isHeld = report.imagesHeld.includes(imageDigest);
  const isWarm = report.sandboxes.some(
    (one) => one.tenantId === tenant.tenantId && one.imageDigest === imageDigest && one.state !== 'starting',
  );
  // To pull an image takes longer than a queue of four for each slot; to start a sandbox as long as half a compile.
  const penalty = (avoid.has(workerId) ? 1_000 : 0) + (isHeld ? 0 : 4) + (isWarm ? 0 : 0.5) + report.load / 4;
  const free = Math.max(0, slotsTotal * tokensPerSlot - out);
  return { worker, penalty, busy: Math.max(out, slotsTotal - report.slotsFree), free, given: 0 };
}

function costOf({ worker, penalty, busy, given }: Room): number {
  return penalty + (busy + given) / worker.registration.slotsTotal;
}

function withinQuotas({ tenant, count }: WantedPlaces, usage: CompileUsage): number {
  const { tenantId, compilesAtOnceMax, compilesPerMinuteMax } = tenant;
  const atOnce = compilesAtOnceMax - usage.tenantPlaces;
  if (atOnce <= 0) throw quotaReached(tenantId, `${compilesAtOnceMax} compiles at once`, 1_000);
  const thisMinute = compilesPerMinuteMax - usage.tenantLastMinute;
  if (thisMinute <= 0) throw quotaReached(tenantId, `${compilesPerMinuteMax} compiles a minute`, 5_000);
  return Math.min(count, atOnce, thisMinute);
}

function fairCount(
  count: number,
  { capacity, free, usage }: { readonly capacity: number; readonly free: number; readonly usage: CompileUsage },
): number {
  if (usage.tenantsActive <= 1) return count;
  const share = Math.max(0, Math.floor(capacity / usage.tenantsActive) - usage.tenantPlaces);
  if (count <= share) return count;
  const beyond = Math.floor((free - share) / 2);
  return Math.max(0, Math.min(count, share + Math.max(0, beyond)));
}

function quotaReached(tenantId: string, quota: string, retryAfterMs: number): DroverError {
  return new DroverError({
    code: 'COMPILE_QUOTA_REACHED',
    advice: 'exhausted',
    message: `The tenant ${tenantId} may have ${quota}, and has them.`,
    details: { tenantId },
    retryAfterMs,
  });
}
