import {
  DroverError,
  messageOf,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type ScheduledCall,
} from '@drover/lease-kit';
import { randomUUID } from 'node:crypto';
import type { Sandbox } from './sandbox.ts';
import type { SandboxDriver, SandboxSpec } from './sandbox-driver.ts';
import type { PreparedImage } from './sandbox-image.ts';
import { WaitingUses } from './waiting-uses.ts';

/** What a pool is made with. */
export interface SandboxPoolOptions {
  /** Sandboxes at once, those that start and stop included; never passed. At least 1. */
  readonly sandboxesMax: number;
  /** Uses of one sandbox at once. At least 1; usually its vCPUs. */
  readonly usesMax: number;
  /** Bounds of each sandbox. */
  readonly bounds: Pick<SandboxSpec, 'vcpus' | 'memoryBytes' | 'diskBytes' | 'processesMax'>;
  /** An unused one is stopped after so long; absent: never. */
  readonly idleMsMax?: number | undefined;
  /** One that is so old gets no new use, and is stopped when its uses have ended; absent: never. */
  readonly ageMsMax?: number | undefined;
  /** How long a use may wait for a sandbox. Default 60 s. */
  readonly waitMsMax?: number | undefined;
  /** Uses that may wait at once. Default 1,024. */
  readonly waitingMax?: number | undefined;
  /** Sandboxes that are kept ready beside those in use, for each tenant and image that was in demand of late. Default 0. */
  readonly spareMax?: number | undefined;
}

/** What a pool works with. */
export interface SandboxPoolDeps {
  readonly driver: SandboxDriver;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
  /** Default: silent. */
  readonly logger?: Logger | undefined;
}

/** A place in a sandbox, for one use. */
export interface SandboxUse {
  readonly sandbox: Sandbox;
  /** True if it was there already when it was asked for. */
  readonly warm: boolean;
  /** Gives the place back; `broken`: nobody else may use the sandbox. Idempotent. */
  release(broken?: boolean): void;
}

/** One sandbox of a pool, as it stands. */
export interface PooledSandbox {
  readonly id: string;
  readonly tenant: string;
  readonly imageDigest: string;
  readonly state: 'starting' | 'running' | 'stopping';
  readonly uses: number;
}

/** Sandboxes by tenant and image; one never serves two tenants. */
export interface SandboxPool extends AsyncDisposable {
  /**
   * A place in a sandbox of the tenant and image: a free one, a new one, or the first that becomes free; tenants that wait take
   * turns. Throws `SANDBOXES_TAKEN` when it has waited too long or too many wait, `POOL_CLOSED`, and what the driver throws; an
   * abort throws the signal's reason.
   */
  use(tenant: string, image: PreparedImage, signal: AbortSignal): Promise<SandboxUse>;
  /** Stops those that nobody uses, of an image; others go when their uses end. Resolves when none is left. */
  retire(imageDigest: string): Promise<void>;
  list(): readonly PooledSandbox[];
  /** Uses that wait. */
  readonly waiting: number;
}

interface Entry {
  readonly id: string;
  readonly key: string;
  readonly tenant: string;
  readonly image: PreparedImage;
  readonly bornMs: number;
  readonly started: Promise<Sandbox>;
  state: PooledSandbox['state'];
  uses: number;
  /** No new uses: it is too old, broken, or somebody else needs its room. */
  leaving: boolean;
  idle: ScheduledCall | undefined;
  idleSinceMs: number;
  gone: Promise<void>;
}

const timerMsMax = 2 ** 31 - 1;
const lifetimeMsMax = 10 * 365 * 86_400_000;

/** Makes an empty pool. */
export function createSandboxPool(options: SandboxPoolOptions, deps: SandboxPoolDeps): SandboxPool {
  return new Pool(options, deps);
}

class Pool implements SandboxPool {
  readonly #options: SandboxPoolOptions;
  readonly #driver: SandboxDriver;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: WaitingUses<Entry>;
  readonly #closing = new AbortController();

  constructor(options: SandboxPoolOptions, { driver, clock = systemClock, logger = silentLogger }: SandboxPoolDeps) {
    this.#options = options;
    this.#driver = driver;
    this.#clock = clock;
    this.#logger = logger;
    const { waitMsMax = 60_000, waitingMax = 1_024 } = options;
    this.#waiting = new WaitingUses({ waitMsMax, waitingMax }, clock, () => this.#serve());
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  async use(tenant: string, image: PreparedImage, signal: AbortSignal): Promise<SandboxUse> {
    signal.throwIfAborted();
    if (this.#closing.signal.aborted) throw closed();
    const key = keyOf(tenant, image.digest);
    // Whoever waits already goes first, unless a place is free that only this tenant can have.
    const entry = this.#freePlace(key) ?? (this.#waiting.size === 0 ? this.#room(key, tenant, image) : undefined);
    if (entry !== undefined) return this.#take(entry, signal);
    const given = this.#waiting.add({ key, tenant, image }, signal);
    this.#serve();
    return this.#take(await given, signal, true);
  }

  async retire(imageDigest: string): Promise<void> {
    const entries = [...this.#entries.values()].filter(({ image }) => image.digest === imageDigest);
    for (const entry of entries) this.#leave(entry);
    await Promise.all(entries.map(({ gone }) => gone));
  }

  list(): readonly PooledSandbox[] {
    return [...this.#entries.values()].map(({ id, tenant, image, state, uses }) => ({
      id,
      tenant,
      imageDigest: image.digest,
      state,
      uses,
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#waiting.refuseAll(closed());
    const entries = [...this.#entries.values()];
    for (const entry of entries) {
      entry.leaving = true;
      this.#stop(entry);
    }
    await Promise.all(entries.map(({ gone }) => gone));
  }

  /** Takes a place in an entry and waits until it has started. `counted`: the place was taken when it was given. */
  async #take(entry: Entry, signal: AbortSignal, counted = false): Promise<SandboxUse> {
    if (!counted) this.#count(entry);
    const warm = entry.state === 'running';
    let released = false;
    const release = (broken = false): void => {
      if (released) return;
      released = true;
      this.#release(entry, broken);
    };
    try {
      const sandbox = await untilAborted(entry.started, signal);
      this.#keepSpare(entry);
      return { sandbox, warm, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #count(entry: Entry): void {
    entry.uses += 1;
    entry.idle?.cancel();
    entry.idle = undefined;
  }

  #release(entry: Entry, broken: boolean): void {
    entry.uses -= 1;
    if (broken || this.#isOld(entry)) entry.leaving = true;
    // A sandbox that has ended is no longer here.
    if (entry.uses === 0 && entry.state !== 'stopping') {
      entry.idleSinceMs = this.#clock.monotonicMs();
      if (entry.leaving) this.#stop(entry);
      else this.#stopWhenIdle(entry);
    }
    this.#serve();
  }

  /** Gives places to those that wait, as far as there are any, and makes room for those that can have none. */
  #serve(): void {
    if (this.#closing.signal.aborted) return;
    let lacking = 0;
    for (const waiting of this.#waiting.inTurn()) {
      const { key, tenant, image } = waiting.wish;
      const entry = this.#freePlace(key) ?? this.#room(key, tenant, image);
      if (entry === undefined) {
        lacking += 1;
        continue;
      }
      this.#count(entry);
      this.#waiting.give(waiting, entry);
    }
    if (lacking > 0) this.#makeRoom(lacking);
  }

  /** The fullest sandbox of a key with a free place: the others may fall idle. */
  #freePlace(key: string): Entry | undefined {
    let best: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.key !== key || entry.leaving || entry.state === 'stopping' || entry.uses >= this.#options.usesMax)
        continue;
      if (this.#isOld(entry)) {
        this.#leave(entry);
        continue;
      }
      if (best === undefined || entry.uses > best.uses) best = entry;
    }
    return best;
  }

  /** A new sandbox, if there is room for one; else the one that is idle longest makes room for the next time. */
  #room(key: string, tenant: string, image: PreparedImage): Entry | undefined {
    return this.#entries.size < this.#options.sandboxesMax ? this.#start(key, tenant, image) : undefined;
  }

  /**
   * Stops idle ones of whoever; where all are in use, those of the tenant that has the most take no new uses, as many as are
   * lacking: a busy tenant does not keep the others out.
   */
  #makeRoom(lacking: number): void {
    const entries = [...this.#entries.values()];
    let coming = entries.filter(({ leaving, state }) => leaving || state === 'stopping').length;
    const idle = entries.filter(({ leaving, uses, state }) => !leaving && uses === 0 && state === 'running');
    idle.sort((a, b) => a.idleSinceMs - b.idleSinceMs);
    for (const entry of idle) {
      if (coming >= lacking) return;
      this.#leave(entry);
      coming += 1;
    }
    while (coming < lacking) {
      const held = new Map<string, Entry[]>();
      for (const entry of this.#entries.values()) {
        if (!entry.leaving && entry.state === 'running')
          held.set(entry.tenant, [...(held.get(entry.tenant) ?? []), entry]);
      }
      const [most] = [...held.values()].sort((a, b) => b.length - a.length);
      const wanting = this.#waiting.tenants();
      const [victim] = most?.sort((a, b) => a.uses - b.uses) ?? [];
      // A tenant alone with itself changes nothing by it, unless it is another image that it waits for.
      if (
        victim === undefined ||
        (wanting.size === 1 && wanting.has(victim.tenant) && this.#waiting.wantsOnly(victim.key))
      )
        return;
      victim.leaving = true;
      coming += 1;
    }
  }

  #start(key: string, tenant: string, image: PreparedImage): Entry {
    const id = randomUUID();
    const spec = { id, tenant, image, ...this.#options.bounds, lifetimeMs: this.#lifetimeMs() };
    const started = this.#driver.start(spec, this.#closing.signal);
    const gone = Promise.withResolvers<void>();
    const nowMs = this.#clock.monotonicMs();
    const entry: Entry = {
      ...{ id, key, tenant, image, started, bornMs: nowMs, idleSinceMs: nowMs },
      ...{ state: 'starting', uses: 0, leaving: false, idle: undefined, gone: gone.promise },
    };
    this.#entries.set(id, entry);
    const forget = (): void => {
      entry.idle?.cancel();
      entry.state = 'stopping';
      this.#entries.delete(id);
      gone.resolve();
      this.#serve();
    };
    started.then(
      (sandbox) => {
        if (entry.state === 'starting') entry.state = 'running';
        void sandbox.ended.then(forget);
        if (entry.state === 'stopping') void sandbox.stop();
        else if (entry.uses === 0) this.#stopWhenIdle(entry);
        this.#serve();
      },
      (error: unknown) => {
        this.#logger.warn({ sandboxId: id, tenant, err: error }, `a sandbox did not start: ${messageOf(error)}`);
        forget();
      },
    );
    return entry;
  }

  /** As old as it may be, and as long again for what is running then. */
  #lifetimeMs(): number {
    const { ageMsMax } = this.#options;
    return ageMsMax === undefined ? lifetimeMsMax : 2 * ageMsMax;
  }

  #keepSpare(entry: Entry): void {
    const { spareMax = 0, sandboxesMax, usesMax } = this.#options;
    if (spareMax === 0 || this.#closing.signal.aborted || this.#waiting.size > 0 || this.#entries.size >= sandboxesMax)
      return;
    const own = [...this.#entries.values()].filter(({ key, leaving }) => key === entry.key && !leaving);
    if (own.some(({ uses }) => uses < usesMax) || own.filter(({ uses }) => uses === 0).length >= spareMax) return;
    this.#start(entry.key, entry.tenant, entry.image);
  }

  #stopWhenIdle(entry: Entry): void {
    const { idleMsMax } = this.#options;
    entry.idle?.cancel();
    if (idleMsMax === undefined) return;
    entry.idle = this.#clock.schedule(Math.min(idleMsMax, timerMsMax), () => this.#leave(entry));
  }

  #isOld({ bornMs }: Entry): boolean {
    const { ageMsMax } = this.#options;
    return ageMsMax !== undefined && this.#clock.monotonicMs() - bornMs >= ageMsMax;
  }

  #leave(entry: Entry): void {
    entry.leaving = true;
    if (entry.uses === 0) this.#stop(entry);
  }

  #stop(entry: Entry): void {
    if (entry.state === 'stopping') return;
    entry.state = 'stopping';
    entry.idle?.cancel();
    entry.started.then(
      (sandbox) => sandbox.stop(),
      () => undefined,
    );
  }
}

function keyOf(tenant: string, imageDigest: string): string {
  return JSON.stringify([tenant, imageDigest]);
}

function closed(): DroverError {
  return new DroverError({ code: 'POOL_CLOSED', advice: 'unavailable', message: 'the pool of sandboxes is closed' });
}

async function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    aborted.catch(() => undefined);
  }
}
