import { DroverError } from '@drover/lease-kit';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lockFileHolder, tryLockFile } from './lock-file.ts';

/** A state folder that this process owns. */
export interface StateDir {
  /** Drawn when the folder was first used, and kept: it marks the processes of this folder's runners. */
  readonly runnerId: string;
  /** Lets another runner have the folder; idempotent. */
  release(): void;
}

/**
 * Takes a state folder. A holder that is gone loses it; a live one keeps it, and the call throws
 * `PROCESS_STATE_DIR_IN_USE` (`conflict`): two runners in one folder would end each other's processes.
 */
export function takeStateDir(dir: string): StateDir {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const lockPath = join(dir, 'runner.lock');
  const lock = tryLockFile(lockPath);
  if (lock === undefined) {
    throw new DroverError({
      code: 'PROCESS_STATE_DIR_IN_USE',
      advice: 'conflict',
      message: `The state folder ${dir} belongs to the process ${lockFileHolder(lockPath) ?? '(unknown)'}, which runs`,
    });
  }
  return { runnerId: keepRunnerId(join(dir, 'runner.id')), release: lock.release };
}

function keepRunnerId(path: string): string {
  try {
    const known = readFileSync(path, 'latin1').trim();
    if (/^[0-9a-f]{32}$/.test(known)) return known;
  } catch {
    // The first runner in this folder.
  }
  const drawn = randomUUID().replaceAll('-', '');
  writeFileSync(path, drawn, { mode: 0o600 });
  return drawn;
}
