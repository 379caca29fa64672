import { messageOf, silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import { readBusyFile } from './busy-file.ts';
import { busyWindowAt, type BusyWindow } from './busy-windows.ts';
import type { CareReason } from './care-reason.ts';
import type { ForeignLoad } from './foreign-load.ts';
import type { PresenceProbe } from './presence-probe.ts';

/** When a machine is needed for something else than leases. */
export interface BusyWatchOptions {
  /** A person's wish, see `writeBusyFile`. */
  readonly file: string;
  /** Times of the week. Default none. */
  readonly windows?: readonly BusyWindow[];
  /** Looks for a person. Absent: nobody looks. */
  readonly idle?: {
    /** A machine that was used is free again when nobody has for so long. */
    readonly afterMs: number;
    /** Others use it when their processes take more than this share of its cores. Absent: load does not matter. */
    readonly loadMax?: number;
  };
  /** How often it looks. Default 5 s. */
  readonly everyMs?: number;
}

/** Who works together in a busy watch. */
export interface BusyWatchDeps {
  /** Called when it changes; `undefined`: the machine is free for leases. */
  readonly report: (reason: CareReason | undefined) => void;
  /** Asked in turn; the one that saw somebody last counts. Default none. */
  readonly presence?: readonly PresenceProbe[];
  readonly load?: ForeignLoad;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** Watches from {@link start} to its disposal. */
export interface BusyWatch extends AsyncDisposable {
  /** Looks once, then again and again. Resolves after the first look. Starting twice is harmless. */
  start(): Promise<void>;
  /** Looks now. */
  look(): Promise<void>;
}

/** So many looks in a row have to see somebody: one key or one short command makes no machine busy. */
const looksMin = 2;

/**
 * Decides whether a machine is needed for something else: because somebody says so (`BUSY_LOCALLY`), by the hour
 * (`BUSY_BY_SCHEDULE`), or because somebody uses it (`BUSY_IN_USE`, `BUSY_BY_LOAD`). Use has to be seen in two looks in a row,
 * and is over when there was none for `idle.afterMs`: so it does not go to and fro.
 */
export function createBusyWatch(options: BusyWatchOptions, deps: BusyWatchDeps): BusyWatch {
  return new KeptWatch(options, deps);
}

class KeptWatch implements BusyWatch {
  readonly #options: BusyWatchOptions;
  readonly #deps: BusyWatchDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #ending = new AbortController();
  readonly #failed = new Set<string>();
  #told: CareReason | undefined;
  #use: { readonly reason: CareReason; looks: number; lastMs: number } | undefined;
  #timer: ScheduledCall | undefined;
  #started: Promise<void> | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: BusyWatchOptions, deps: BusyWatchDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
  }

  start(): Promise<void> {
    this.#started ??= this.#repeat();
    return this.#started;
  }

  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#timer?.cancel();
    await this.#looking;
  }

  async #repeat(): Promise<void> {
    await this.look();
    if (this.#ending.signal.aborted) return;
    this.#timer = this.#clock.schedule(this.#options.everyMs ?? 5_000, () => void this.#repeat());
  }

  async #look(): Promise<void> {
    const used = await this.#inUse();
    const reason = (await this.#wished()) ?? this.#scheduled() ?? used;
    if (this.#ending.signal.aborted || (reason?.code === this.#told?.code && reason?.message === this.#told?.message)) {
      return;
    }
    if (reason) this.#logger.info({ code: reason.code }, `busy: ${reason.message}`);
    else this.#logger.info({}, 'the machine is free for leases again');
    this.#told = reason;
    this.#deps.report(reason);
  }

  async #wished(): Promise<CareReason | undefined> {
    const wish = await readBusyFile(this.#options.file, this.#clock.wallMs());
    if (wish === undefined) return undefined;
    const until = wish.untilMs === undefined ? '' : ` until ${new Date(wish.untilMs).toISOString()}`;
    const comment = wish.comment === '' ? '' : `: ${wish.comment}`;
    return { code: 'BUSY_LOCALLY', message: `somebody needs the machine${until}${comment}` };
  }

  #scheduled(): CareReason | undefined {
    const window = busyWindowAt(this.#options.windows ?? [], this.#clock.wallMs());
    return window && { code: 'BUSY_BY_SCHEDULE', message: `the machine is not for leases on ${window.text}` };
  }

  async #inUse(): Promise<CareReason | undefined> {
    const { idle, everyMs = 5_000 } = this.#options;
    if (idle === undefined) return undefined;
    const seen = (await this.#person(everyMs)) ?? this.#foreign(idle.loadMax);
    const nowMs = this.#clock.monotonicMs();
    const use = this.#use;
    if (seen) {
      // A reason stays while it lasts: the server hears of every change.
      this.#use = { reason: use?.reason ?? seen, looks: (use?.looks ?? 0) + 1, lastMs: nowMs };
    } else if (use && (use.looks < looksMin || nowMs - use.lastMs >= idle.afterMs)) this.#use = undefined;
    return this.#use && this.#use.looks >= looksMin ? this.#use.reason : undefined;
  }

  /** Somebody since the last look, with as much again for traces that come late. */
  async #person(everyMs: number): Promise<CareReason | undefined> {
    const { signal } = this.#ending;
    for (const probe of this.#deps.presence ?? []) {
      try {
        const idleMs = await probe.idleMs(signal);
        if (idleMs !== undefined && idleMs < 2 * everyMs) {
          return { code: 'BUSY_IN_USE', message: `somebody uses the machine (${probe.name})` };
        }
      } catch (error) {
        if (signal.aborted || this.#failed.has(probe.name)) continue;
        this.#failed.add(probe.name);
        this.#logger.warn({ err: error }, `${probe.name} cannot be asked who uses the machine: ${messageOf(error)}`);
      }
    }
    return undefined;
  }

  #foreign(loadMax: number | undefined): CareReason | undefined {
    const load = this.#deps.load?.take();
    if (loadMax === undefined || load === undefined || load <= loadMax) return undefined;
    const message = `programs that are none of the agent's use more than ${Math.round(loadMax * 100)} % of the cores`;
    return { code: 'BUSY_BY_LOAD', message };
  }
}
