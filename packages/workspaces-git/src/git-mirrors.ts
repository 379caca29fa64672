import { DroverError, type Clock, type Logger } from '@drover/lease-kit';
import { tryLockFile, type LockFile } from '@drover/process-runner';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';

/** Where mirrors are kept. */
export interface GitMirrorsOptions {
  readonly cacheDir: string;
  readonly mirrorsMax: number;
  readonly lockWaitMs: number;
}

/** Folders for bare repositories, one a url, each used by one process at a time. */
export interface GitMirrors {
  /**
   * Gives `use` the mirror's folder, which is made (with `init`) when it is not there, and holds its lock until `use` has
   * ended. When `use` throws {@link MirrorBroken}, the folder is thrown away and `use` called once more. Throws
   * `GIT_CACHE_BUSY` (`unavailable`) when the lock cannot be had in time, and the signal's reason on abort.
   */
  withMirror<T>(
    url: string,
    init: (dir: string) => Promise<void>,
    use: (dir: string) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T>;
}

/** Thrown by a use of a mirror that is damaged. */
export class MirrorBroken extends Error {
  readonly failure: Error;
  constructor(failure: Error) {
    super(failure.message);
    this.failure = failure;
  }
}

const lockPollMs = 25;

/** Opens the cache; several processes may do so. The least recently used mirrors beyond the bound are removed. */
export function createGitMirrors(
  options: GitMirrorsOptions,
  { clock, logger }: { clock: Clock; logger: Logger },
): GitMirrors {
  const { cacheDir, mirrorsMax, lockWaitMs } = options;

  return {
    async withMirror(url, init, use, signal) {
      await mkdir(cacheDir, { recursive: true, mode: 0o700 });
      const name = createHash('sha256').update(url).digest('hex').slice(0, 32);
      const dir = join(cacheDir, `${name}.git`);
      const lock = await takeLock(join(cacheDir, `${name}.lock`), signal);
      try {
        await ensure(dir, init);
        try {
          return await use(dir);
        } catch (error) {
          if (!(error instanceof MirrorBroken)) throw error;
          logger.warn({ err: error.failure, dir }, 'a cached mirror is damaged and is made anew');
          await discard(dir);
          await ensure(dir, init);
          return await use(dir);
        }
      } catch (error) {
        throw error instanceof MirrorBroken ? error.failure : error;
      } finally {
        lock.release();
      }
    },
  };

  async function ensure(dir: string, init: (dir: string) => Promise<void>): Promise<void> {
    const now = new Date(clock.wallMs());
    try {
      return await utimes(dir, now, now);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
    // Made aside and renamed: a crash in between leaves no half of a mirror.
    const fresh = join(cacheDir, `new-${randomUUID()}`);
    try {
      await init(fresh);
      await rename(fresh, dir);
    } finally {
      await rm(fresh, { recursive: true, force: true });
    }
    await prune(dir);
  }

  async function prune(keep: string): Promise<void> {
    const names = (await readdir(cacheDir)).filter((name) => name.endsWith('.git'));
    if (names.length <= mirrorsMax) return;
    const dated = await Promise.all(
      names.map(async (name) => ({
        name,
        usedMs: (await stat(join(cacheDir, name)).catch(() => undefined))?.mtimeMs ?? 0,
      })),
    );
    const oldest = dated.sort((a, b) => a.usedMs - b.usedMs).slice(0, names.length - mirrorsMax);
    for (const { name } of oldest) {
      // One that is in use is left for the next time.
      const lock =
        join(cacheDir, name) === keep ? undefined : tryLockFile(join(cacheDir, name.replace(/git$/, 'lock')));
      if (lock === undefined) continue;
      await discard(join(cacheDir, name)).finally(() => lock.release());
    }
  }

  async function discard(dir: string): Promise<void> {
    const aside = join(cacheDir, `old-${randomUUID()}`);
    await rename(dir, aside).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rm(aside, { recursive: true, force: true });
  }

  async function takeLock(path: string, signal: AbortSignal): Promise<LockFile> {
    const startMs = clock.monotonicMs();
    for (;;) {
      signal.throwIfAborted();
      const lock = tryLockFile(path);
      if (lock !== undefined) return lock;
      if (clock.monotonicMs() - startMs >= lockWaitMs) {
        throw new DroverError({
          code: 'GIT_CACHE_BUSY',
          advice: 'unavailable',
          message: `The cached mirror ${path} has been in use by another call for ${lockWaitMs} ms`,
        });
      }
      await new Promise<void>((resolve) => clock.schedule(lockPollMs, resolve));
    }
  }
}
