import { randomUUID } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DroverError } from '@drover/lease-kit';
import { readBootId } from './describe-machine.ts';

/** A state folder that this process owns. */
export interface StateDir {
  readonly path: string;
  /** The id that was drawn when the folder was first used, and kept. */
  readonly keptAgentId: string;
  readonly journalPath: string;
  /** Where attempts have their folders. */
  readonly attemptsPath: string;
  /** Lets another agent have the folder. Idempotent. */
  release(): void;
}

interface Holder {
  readonly pid: number;
  /** In clock ticks after the machine's start; absent where there is no /proc. */
  readonly startTicks?: string;
  readonly bootId: string;
  readonly nonce: string;
}

/**
 * Takes a state folder, making it if need be. A holder that is gone (by pid, start time and boot id) loses it; a live one
 * keeps it, and the call throws `AGENT_STATE_IN_USE` (`conflict`): two agents with one journal would run one attempt twice.
 */
export function takeStateDir(path: string): StateDir {
  const attemptsPath = join(path, 'attempts');
  mkdirSync(attemptsPath, { recursive: true, mode: 0o700 });
  const lockPath = join(path, 'agent.lock');
  const startTicks = readStartTicks(process.pid);
  const holder: Holder = {
    pid: process.pid,
    bootId: readBootId(),
    nonce: randomUUID(),
    ...(startTicks === undefined ? {} : { startTicks }),
  };
  const mine = `${lockPath}.${holder.nonce}`;
  writeFileSync(mine, JSON.stringify(holder), { mode: 0o600 });
  try {
    for (let round = 0; !tryLink(mine, lockPath); round++) {
      const other = readHolder(lockPath);
      if (round === 10 || (other && isAlive(other))) {
        throw new DroverError({
          code: 'AGENT_STATE_IN_USE',
          advice: 'conflict',
          message: `the state folder ${path} belongs to the agent of process ${other?.pid ?? '(unknown)'}, which runs; give each agent its own`,
          details: { pid: other?.pid ?? 0 },
        });
      }
      removeStale(lockPath, other?.nonce, `${mine}.stale`);
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    path,
    attemptsPath,
    journalPath: join(path, 'journal'),
    keptAgentId: keepAgentId(join(path, 'agent.id')),
    release() {
      if (readHolder(lockPath)?.nonce === holder.nonce) rmSync(lockPath, { force: true });
    },
  };
}

/** A hard link appears with its content in one step: nobody reads half a lock. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Takes a stale lock away by renaming it, and puts it back if another agent replaced it in between. */
function removeStale(lockPath: string, staleNonce: string | undefined, aside: string): void {
  try {
    renameSync(lockPath, aside);
  } catch {
    return;
  }
  if (readHolder(aside)?.nonce !== staleNonce) tryLink(aside, lockPath);
  rmSync(aside, { force: true });
}

function readHolder(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

function isAlive(holder: Holder): boolean {
  if (holder.bootId !== readBootId()) return false;
  if (holder.startTicks !== undefined) return readStartTicks(holder.pid) === holder.startTicks;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Field 22 of /proc/pid/stat (proc(5)): with the pid it names a process; a zombie has ended. */
function readStartTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function keepAgentId(path: string): string {
  try {
    const known = readFileSync(path, 'utf8').trim();
    if (/^[0-9a-f-]{36}$/.test(known)) return known;
  } catch {
    // The first agent in this folder.
  }
  const drawn = randomUUID();
  writeFileSync(`${path}.next`, `${drawn}\n`, { mode: 0o600, flush: true });
  renameSync(`${path}.next`, path);
  return drawn;
}
