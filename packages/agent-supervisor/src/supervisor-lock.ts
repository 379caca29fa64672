import { randomUUID } from 'node:crypto';
import { linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { bootId, startTimeOf, type ProcessName } from './agent-process.ts';
import { SupervisorError } from './supervisor-error.ts';

/** Who took the lock. */
interface LockHolder extends ProcessName {
  /** Names this taking of it. */
  readonly nonce: string;
}

/** Others may take the lock and be gone between any two steps; so often it is looked at anew. */
const triesMax = 10;

/**
 * Takes the lock of a folder; a holder that is gone loses it. Throws `SUPERVISOR_RUNS`. Answers how to let go.
 *
 * The lock is a chain: the file names a holder, `….after.<nonce>` whoever took over from it when it was gone, and so on; the
 * last one holds it. A hard link comes to be once, so each has one heir, and no file is removed that could be a live holder's.
 */
export function takeSupervisorLock(path: string): () => void {
  const mine: LockHolder = {
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? '',
    bootId: bootId(),
    nonce: randomUUID(),
  };
  const own = `${path}.${mine.nonce}`;
  writeFileSync(own, JSON.stringify(mine));
  try {
    for (let tries = 0; tries < triesMax; tries += 1) {
      const last = lastOf(path);
      if (last !== undefined && isAlive(last)) throw supervisorRuns(last);
      const place = last === undefined ? path : heirPath(path, last.nonce);
      if (!tryLink(own, place)) continue;
      if (lastOf(path)?.nonce !== mine.nonce) {
        // Taken over and shortened in between: the place was no longer part of the chain.
        rmSync(place, { force: true });
        continue;
      }
      // The chain begins with this holder from now on. What led to it is off the chain, and whoever links there sees that.
      renameSync(own, path);
      for (const name of readdirSync(dirname(path))) {
        if (name.startsWith(`${basename(path)}.after.`)) rmSync(join(dirname(path), name), { force: true });
      }
      return () => {
        if (readHolder(path)?.nonce === mine.nonce) rmSync(path, { force: true });
      };
    }
    throw supervisorRuns(lastOf(path));
  } finally {
    rmSync(own, { force: true });
  }
}

/** The last of the chain; undefined if nobody has taken the lock. */
function lastOf(path: string): LockHolder | undefined {
  let last: LockHolder | undefined;
  let place = path;
  for (;;) {
    const next = readHolder(place, `${last?.nonce ?? 'nobody'}.unreadable`);
    if (next === undefined) return last;
    last = next;
    place = heirPath(path, next.nonce);
  }
}

function heirPath(path: string, nonce: string): string {
  return `${path}.after.${nonce}`;
}

/** A hard link appears with its content in one step. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Who took a place of the chain; undefined if nobody did. One that a power failure cut off counts as gone, under a name. */
function readHolder(path: string, unreadableNonce = ''): LockHolder | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const holder = JSON.parse(text) as LockHolder;
    if (/^[0-9a-f-]{36}$/.test(holder.nonce)) return holder;
  } catch {
    // Not what a supervisor writes.
  }
  return { pid: 0, startTime: '', bootId: '', nonce: unreadableNonce };
}

function isAlive({ pid, startTime, bootId: boot }: LockHolder): boolean {
  return boot === bootId() && startTimeOf(pid) === startTime;
}

function supervisorRuns(holder: LockHolder | undefined): SupervisorError {
  return new SupervisorError('SUPERVISOR_RUNS', `process ${holder?.pid ?? '?'} supervises this folder already`);
}
