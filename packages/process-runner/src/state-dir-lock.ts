import { DroverError } from '@drover/lease-kit';
import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isProcessAlive, readBootId, readProcessRow } from './process-table.ts';

/** A state folder that this process owns. */
export interface StateDir {
  /** Drawn when the folder was first used, and kept: it marks the processes of this folder's runners. */
  readonly runnerId: string;
  /** Lets another runner have the folder; idempotent. */
  release(): void;
}

interface LockHolder {
  readonly pid: number;
  readonly startTime: number | undefined;
  readonly bootId: string | undefined;
  readonly nonce: string;
}

/**
 * Takes a state folder. A holder that is gone (by pid, start time and boot id) loses it; a live one keeps it, and the
 * call throws `PROCESS_STATE_DIR_IN_USE` (`conflict`): two runners in one folder would end each other's processes.
 */
export function takeStateDir(dir: string): StateDir {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const lockPath = join(dir, 'runner.lock');
  const holder: LockHolder = {
    pid: process.pid,
    startTime: readProcessRow(process.pid)?.startTime,
    bootId: readBootId(),
    nonce: randomUUID(),
  };
  const mine = join(dir, `runner.lock.${holder.nonce}`);
  writeFileSync(mine, JSON.stringify(holder), { mode: 0o600 });
  try {
    for (let attempt = 0; !tryLink(mine, lockPath); attempt++) {
      const other = readHolder(lockPath);
      if (attempt === 10 || (other !== undefined && isHolderAlive(other))) {
        throw new DroverError({
          code: 'PROCESS_STATE_DIR_IN_USE',
          advice: 'conflict',
          message: `The state folder ${dir} belongs to the process ${other?.pid ?? '(unknown)'}, which runs`,
        });
      }
      removeStale(lockPath, other?.nonce, `${mine}.stale`);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    runnerId: keepRunnerId(join(dir, 'runner.id')),
    release() {
      if (readHolder(lockPath)?.nonce === holder.nonce) rmSync(lockPath, { force: true });
    },
  };
}

/** A hard link appears with its content in one step, so that nobody reads a lock that is half written. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Takes the lock away by renaming it, and puts it back when another runner replaced the stale one in between. */
function removeStale(lockPath: string, staleNonce: string | undefined, aside: string): void {
  try {
    renameSync(lockPath, aside);
  } catch {
    return;
  }
  if (readHolder(aside)?.nonce !== staleNonce) tryLink(aside, lockPath);
  rmSync(aside, { force: true });
}

function readHolder(path: string): LockHolder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LockHolder;
  } catch {
    return undefined;
  }
}

function isHolderAlive(holder: LockHolder): boolean {
  if (holder.bootId !== readBootId()) return false;
  if (holder.startTime !== undefined) return isProcessAlive({ pid: holder.pid, startTime: holder.startTime });
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
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
