import { randomUUID } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import { folderEntries, type FolderEntry } from './folder-entries.ts';

/** A folder whose entries are removed when they are old, or too large together. */
export interface CleanUpPlace {
  /** What it holds, e.g. `git mirrors`. */
  readonly name: string;
  readonly folder: string;
  /** Entries that have not been changed for so long are removed. Absent: age does not matter. */
  readonly ageMaxMs?: number;
  /** Beyond this, the least recently used are removed. Absent: size does not matter. */
  readonly sizeMaxBytes?: number;
  /** It can be had again: when a disk runs low, the least recently used go, whatever their age. Default false. */
  readonly isCache?: boolean;
  /** Which entries may be looked at at all. Default: all. */
  readonly accepts?: (name: string) => boolean;
  /**
   * Takes an entry out of use before it is removed; answers how to give its name back afterwards, or undefined for one that
   * is in use, which stays.
   */
  readonly claim: (name: string) => (() => void) | undefined;
}

/** What was removed of one place. */
export interface CleanedPlace {
  readonly name: string;
  readonly folder: string;
  readonly removed: number;
  readonly removedBytes: number;
  /** What was to go and is in use, or could not be removed. */
  readonly kept: number;
}

/** What to keep clean. */
export interface CleanUpOptions {
  readonly places: readonly CleanUpPlace[];
  /** Default 1 h. */
  readonly everyMs?: number;
}

/** Who works together in a clean-up. */
export interface CleanUpDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Told what was removed. Default: silence. */
  readonly logger?: Logger;
}

/** Removes what nobody needs, from {@link start} to its disposal. */
export interface CleanUp extends AsyncDisposable {
  /** Runs soon, and then again and again. Starting twice is harmless. */
  start(): void;
  /**
   * Runs now, or joins the run that is under way. With `enough`, entries of caches go on being removed, the least recently
   * used first, until it says true. Never rejects; what a place does not let it do is logged.
   */
  run(options?: { readonly enough?: () => Promise<boolean> }): Promise<readonly CleanedPlace[]>;
}

/** What is on its way out; a crash leaves it for the next run. */
const prefix = '.drover-removing-';

/** Makes a clean-up; it does nothing before {@link CleanUp.start} or {@link CleanUp.run}. */
export function createCleanUp(options: CleanUpOptions, deps: CleanUpDeps = {}): CleanUp {
  return new KeptClean(options, deps);
}

interface Tally {
  removed: number;
  removedBytes: number;
  kept: number;
  left: FolderEntry[];
}

class KeptClean implements CleanUp {
  readonly #places: readonly CleanUpPlace[];
  readonly #everyMs: number;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #ending = new AbortController();
  #running: Promise<readonly CleanedPlace[]> | undefined;
  #timer: ScheduledCall | undefined;
  #started = false;

  constructor(options: CleanUpOptions, deps: CleanUpDeps) {
    this.#places = options.places;
    this.#everyMs = options.everyMs ?? 3_600_000;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.#repeat();
  }

  run({ enough }: { readonly enough?: () => Promise<boolean> } = {}): Promise<readonly CleanedPlace[]> {
    // One under way may stop before there is room.
    if (this.#running && enough) return this.#running.then(() => this.run({ enough }));
    this.#running ??= this.#run(enough).finally(() => (this.#running = undefined));
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#timer?.cancel();
    await this.#running;
  }

  async #repeat(): Promise<void> {
    await this.run();
    if (this.#ending.signal.aborted) return;
    this.#timer = this.#clock.schedule(this.#everyMs, () => void this.#repeat());
  }

  async #run(enough: (() => Promise<boolean>) | undefined): Promise<readonly CleanedPlace[]> {
    const tallies = new Map<CleanUpPlace, Tally>();
    for (const place of this.#places) {
      const tally: Tally = { removed: 0, removedBytes: 0, kept: 0, left: [] };
      tallies.set(place, tally);
      await this.#trying(place, () => this.#clean(place, tally));
    }
    if (enough) await this.#makeRoom(tallies, enough);
    const report = [...tallies].map(([{ name, folder }, { removed, removedBytes, kept }]) => {
      const cleaned: CleanedPlace = { name, folder, removed, removedBytes, kept };
      if (removed > 0) this.#logger.info({ ...cleaned }, `removed ${removed} of ${name} that nobody needs`);
      return cleaned;
    });
    return report;
  }

  async #clean(place: CleanUpPlace, tally: Tally): Promise<void> {
    const { signal } = this.#ending;
    await this.#removeLeftovers(place);
    const { accepts = () => true, ageMaxMs = Infinity, sizeMaxBytes = Infinity } = place;
    const entries = await folderEntries(place.folder, (name) => !name.startsWith(prefix) && accepts(name), signal);
    entries.sort((a, b) => a.usedMs - b.usedMs);
    const oldMs = this.#clock.wallMs() - ageMaxMs;
    let bytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    for (const entry of entries) {
      signal.throwIfAborted();
      const isGone = (entry.usedMs < oldMs || bytes > sizeMaxBytes) && (await this.#remove(place, entry, tally));
      if (isGone) bytes -= entry.sizeBytes;
      else tally.left.push(entry);
    }
  }

  /** Goes on with caches until there is room. */
  async #makeRoom(tallies: ReadonlyMap<CleanUpPlace, Tally>, enough: () => Promise<boolean>): Promise<void> {
    const left = [...tallies]
      .filter(([{ isCache }]) => isCache === true)
      .flatMap(([place, tally]) => tally.left.map((entry) => ({ place, tally, entry })))
      .sort((a, b) => a.entry.usedMs - b.entry.usedMs);
    for (const { place, tally, entry } of left) {
      if (this.#ending.signal.aborted || (await enough())) return;
      await this.#trying(place, () => this.#remove(place, entry, tally));
    }
  }

  async #remove(place: CleanUpPlace, entry: FolderEntry, tally: Tally): Promise<boolean> {
    const release = place.claim(entry.name);
    if (release === undefined) {
      tally.kept += 1;
      return false;
    }
    // Out of the way in one step: nobody finds half of it.
    const aside = join(place.folder, `${prefix}${randomUUID()}`);
    try {
      await rename(entry.path, aside);
    } catch (error) {
      tally.kept += 1;
      this.#logger.warn({ err: error, path: entry.path }, `something of ${place.name} cannot be removed`);
      return false;
    } finally {
      release();
    }
    if (!(await this.#removeAside(place, aside))) {
      tally.kept += 1;
      return false;
    }
    tally.removed += 1;
    tally.removedBytes += entry.sizeBytes;
    return true;
  }

  async #removeLeftovers(place: CleanUpPlace): Promise<void> {
    const { folder } = place;
    for (const name of await readdir(folder).catch(() => [])) {
      if (name.startsWith(prefix)) await this.#removeAside(place, join(folder, name));
    }
  }

  /** What cannot be removed, a folder of somebody else, say, must not keep all the rest of its place. Tried again by each run. */
  async #removeAside({ name }: CleanUpPlace, path: string): Promise<boolean> {
    try {
      await rm(path, { recursive: true, force: true, maxRetries: 3 });
      return true;
    } catch (error) {
      this.#logger.warn({ err: error, path }, `something of ${name} cannot be removed`);
      return false;
    }
  }

  async #trying(place: CleanUpPlace, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (this.#ending.signal.aborted) return;
      this.#logger.warn({ err: error, folder: place.folder }, `${place.name} cannot be cleaned up for now`);
    }
  }
}
