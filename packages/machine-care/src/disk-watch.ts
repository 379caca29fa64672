import { statfs } from 'node:fs/promises';
import { messageOf, silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import type { CareReason } from './care-reason.ts';
import { within } from './within.ts';

/** The least that has to be free on a disk: an amount, or a share of its size from 0 to below 1. 0 asks for nothing. */
export type FreeMin = { readonly bytes: number } | { readonly share: number };

/** A folder whose disk needs room. */
export interface WatchedFolder {
  /** What it is for, e.g. `state folder`. */
  readonly name: string;
  readonly path: string;
  readonly freeMin: FreeMin;
}

/** What to watch. */
export interface DiskWatchOptions {
  readonly folders: readonly WatchedFolder[];
  /** Default 10 s. */
  readonly everyMs?: number;
}

/** The part of statfs(2) that is looked at. */
export interface DiskRoom {
  readonly bsize: number;
  readonly blocks: number;
  readonly bavail: number;
}

/** Who works together in a disk watch. */
export interface DiskWatchDeps {
  /** Called when the reason changes; `undefined`: there is room on every disk. */
  readonly report: (problem: CareReason | undefined) => void;
  /** Default: the system's. */
  readonly statfs?: (path: string) => Promise<DiskRoom>;
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** Watches disks from {@link start} to its disposal. */
export interface DiskWatch extends Disposable {
  /** Looks once, then again and again. Resolves after the first look. Starting twice is harmless. */
  start(): Promise<void>;
  /** Looks now. */
  look(): Promise<void>;
}

const answerMsMax = 5_000;
/** A disk that was low is well again when it has so much more than is wanted: it must not go to and fro. */
const wellShare = 0.25;
const wellBytesMax = 2 ** 30;

/**
 * Watches the disks of folders. One with less than its `freeMin` is a problem, `DISK_SPACE_LOW`, until it has a quarter (at
 * most 1 GiB) more than that; one that does not answer within 5 s, or fails, is one as well: `DISK_UNRESPONSIVE`,
 * `DISK_UNREADABLE`.
 */
export function createDiskWatch(options: DiskWatchOptions, deps: DiskWatchDeps): DiskWatch {
  const { folders, everyMs = 10_000 } = options;
  const { report, clock = systemClock, logger = silentLogger, statfs: ask = statfs } = deps;
  const problems = new Map<string, CareReason>();
  let told: CareReason | undefined;
  let timer: ScheduledCall | undefined;
  let looking: Promise<void> | undefined;
  let started: Promise<void> | undefined;
  let ended = false;

  async function problemOf(folder: WatchedFolder): Promise<CareReason | undefined> {
    const { name, path, freeMin } = folder;
    const before = problems.get(path);
    let room: DiskRoom | 'late';
    try {
      room = await within(ask(path), answerMsMax, clock);
    } catch (error) {
      return { code: 'DISK_UNREADABLE', message: `the ${name} ${path} cannot be read: ${messageOf(error)}` };
    }
    if (room === 'late') {
      return { code: 'DISK_UNRESPONSIVE', message: `the disk of the ${name} ${path} does not answer` };
    }
    const free = room.bavail * room.bsize;
    const least = 'bytes' in freeMin ? freeMin.bytes : freeMin.share * room.blocks * room.bsize;
    const wasLow = before?.code === 'DISK_SPACE_LOW';
    if (free >= least + (wasLow ? Math.min(least * wellShare, wellBytesMax) : 0)) return undefined;
    // The amount of the moment at which it became low: one that follows every write would be told every time.
    if (wasLow) return before;
    const wanted = 'bytes' in freeMin ? bytesText(least) : `${round(freeMin.share * 100)} % (${bytesText(least)})`;
    const message = `the disk of the ${name} ${path} has ${bytesText(free)} free, at least ${wanted} is wanted`;
    return { code: 'DISK_SPACE_LOW', message };
  }

  async function lookOnce(): Promise<void> {
    await Promise.all(
      folders.map(async (folder) => {
        const problem = await problemOf(folder);
        if (problem) problems.set(folder.path, problem);
        else problems.delete(folder.path);
      }),
    );
    if (ended) return;
    const [next] = folders.flatMap(({ path }) => problems.get(path) ?? []);
    if (next?.code === told?.code && next?.message === told?.message) return;
    if (next) logger.warn({ code: next.code }, next.message);
    else logger.info({}, 'there is room on every disk again');
    told = next;
    report(next);
  }

  const look = (): Promise<void> => {
    looking ??= lookOnce().finally(() => (looking = undefined));
    return looking;
  };
  const repeat = async (): Promise<void> => {
    await look();
    if (!ended) timer = clock.schedule(everyMs, () => void repeat());
  };
  return {
    start: () => (started ??= repeat()),
    look,
    [Symbol.dispose]() {
      ended = true;
      timer?.cancel();
    },
  };
}

function bytesText(bytes: number): string {
  const units = ['b', 'kb', 'mb', 'gb', 'tb'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  return `${round(bytes / 2 ** (10 * power))}${units[power]!}`;
}

const round = (value: number): number => Math.round(value * 10) / 10;
