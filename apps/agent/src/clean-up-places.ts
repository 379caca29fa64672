import type { LeaseAgent } from '@drover/lease-agent';
import { DroverError } from '@drover/lease-kit';
import type { CleanUpPlace } from '@drover/machine-care';
import { isProcessAlive, readBootId, tryLockFile } from '@drover/process-runner';
import { readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import type { AgentConfig } from './agent-config.ts';
import type { AgentHerd } from './herd/compose-herd.ts';
import { herdDirOf } from './herd/herd-dir.ts';

/** A folder of an attempt that nobody holds was left by a removal that failed: a while is enough. */
const leftFolderAgeMs = 3_600_000;
/** What git makes aside is renamed or removed within the time of one call. */
const asideAgeMs = 86_400_000;

const jobFolderAgeMs = 14 * 86_400_000;

const nobodysUse = (): (() => void) => () => undefined;

/**
 * What an agent's machine is kept clean of. What a live or journalled attempt uses is never among it. Throws `CONFIG_INVALID`
 * for a folder that holds more than logs or caches can.
 */
export function cleanUpPlaces(
  config: AgentConfig,
  agent: Pick<LeaseAgent, 'attemptFolders'>,
  herd?: Pick<AgentHerd, 'isJobFolder'>,
): CleanUpPlace[] {
  const state = resolve(config.state.dir);
  const git = join(state, 'git');
  const records = join(state, 'processes', 'processes');
  const { age_max: ageMaxMs, cache_size_max, folders, folders_size_max: sizeMaxBytes } = config.cleanup;
  return [
    {
      name: 'folders of attempts',
      folder: join(state, 'leases', 'attempts'),
      ageMaxMs: leftFolderAgeMs,
      claim: (name) => {
        const used = agent.attemptFolders();
        return used === undefined || used.has(name) ? undefined : () => undefined;
      },
    },
    {
      name: 'mirrors of repositories',
      folder: git,
      ageMaxMs,
      sizeMaxBytes: cache_size_max,
      isCache: true,
      accepts: (name) => name.endsWith('.git'),
      claim: (name) => {
        // The lock by which providers keep each other out.
        const lock = tryLockFile(join(git, name.replace(/git$/, 'lock')));
        return lock && (() => lock.release());
      },
    },
    {
      name: 'mirrors that were never finished',
      folder: git,
      ageMaxMs: asideAgeMs,
      accepts: (name) => /^(new|old)-/.test(name),
      claim: nobodysUse,
    },
    {
      name: 'records of processes',
      folder: records,
      ageMaxMs,
      accepts: (name) => /\.json(\.new)?$/.test(name),
      claim: (name) => (livesStill(join(records, name)) ? undefined : () => undefined),
    },
    ...(herd === undefined ? [] : [jobFoldersOf(config, herd)]),
    ...folders.map((folder): CleanUpPlace => {
      checkFolder(resolve(folder), state);
      const name = `entries of ${folder}`;
      return { name, folder: resolve(folder), ageMaxMs, sizeMaxBytes, isCache: true, claim: nobodysUse };
    }),
  ];
}

/** Folders of herd jobs go when their jobs end, and all that are left when an agent starts; what stays in between is old. */
function jobFoldersOf(config: AgentConfig, herd: Pick<AgentHerd, 'isJobFolder'>): CleanUpPlace {
  return {
    name: 'folders of herd jobs',
    folder: join(herdDirOf(config), 'work', 'jobs'),
    ageMaxMs: Math.min(config.cleanup.age_max, jobFolderAgeMs),
    claim: (name) => (herd.isJobFolder(name) ? undefined : () => undefined),
  };
}

/** Everything in such a folder may go, so that a slip must not name more than was meant. */
function checkFolder(folder: string, state: string): void {
  const isBelow = (inner: string, outer: string): boolean => !relative(outer, inner).startsWith('..');
  // A link is what it leads to, too.
  const isWithin = (inner: string, outer: string): boolean =>
    isBelow(inner, outer) || isBelow(real(inner), real(outer));
  const problem = isWithin(state, folder)
    ? `holds state.dir ${state}`
    : isWithin(folder, state)
      ? `is in state.dir ${state}, which is kept clean by itself`
      : isWithin(homedir(), folder)
        ? 'holds the home of the user'
        : undefined;
  if (problem === undefined) return;
  throw new DroverError({
    code: 'CONFIG_INVALID',
    advice: 'fix-input',
    message: `cleanup.folders: ${folder} ${problem}; allowed are folders of logs or caches alone, for all in them may be removed`,
  });
}

/** Where a path leads; the path itself while nothing is there. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** A record is needed as long as its process may be there. */
function livesStill(path: string): boolean {
  try {
    const { bootId, pid, startTime } = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    if (typeof pid !== 'number' || bootId !== readBootId()) return false;
    return isProcessAlive({ pid, startTime: Number(startTime) });
  } catch {
    return false;
  }
}
