import { randomUUID } from 'node:crypto';
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { isProcessAlive, readBootId, readProcessRow } from './process-table.ts';

/** A lock that this process holds. */
export interface LockFile {
  /** Lets go; idempotent. Not needed for the sake of a crash: a holder that is gone loses the lock. */
  release(): void;
}

interface LockHolder {
  readonly pid: number;
  readonly startTime: number | undefined;
  readonly bootId: string | undefined;
  readonly nonce: string;
}

/**
 * Takes the lock that a file stands for, if nobody alive holds it; undefined otherwise, also when it is this process that
 * does. A holder is known by pid, start time and boot id, so the file must not be shared between machines or between
 * containers that do not see each other's processes. Throws the file system's error when the file cannot be made.
 */
export function tryLockFile(path: string): LockFile | undefined {
  const holder: LockHolder = {
    pid: process.pid,
    startTime: readProcessRow(process.pid)?.startTime,
    bootId: readBootId(),
    nonce: randomUUID(),
  };
  const mine = `${path}.${holder.nonce}`;
  writeFileSync(mine, JSON.stringify(holder), { mode: 0o600 });
  try {
    for (let attempt = 0; !tryLink(mine, path); attempt++) {
      const other = readHolder(path);
      if (attempt === 10 || (other !== undefined && isHolderAlive(other))) return undefined;
      removeStale(path, other?.nonce, `${mine}.stale`);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    release() {
      if (readHolder(path)?.nonce === holder.nonce) rmSync(path, { force: true });
    },
  };
}

/** The process that holds a lock, for a message; undefined when nobody does. */
export function lockFileHolder(path: string): number | undefined {
  return readHolder(path)?.pid;
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

/** Takes a lock away by renaming it, and puts it back when another holder replaced the stale one in between. */
function removeStale(path: string, staleNonce: string | undefined, aside: string): void {
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  if (readHolder(aside)?.nonce !== staleNonce) tryLink(aside, path);
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
