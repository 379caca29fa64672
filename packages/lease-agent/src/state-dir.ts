import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DroverError } from '@drover/lease-kit';
import { lockFileHolder, tryLockFile } from '@drover/process-runner';

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

/**
 * Takes a state folder, making it if need be. A holder that is gone (by pid, start time and boot id) loses it; a live one
 * keeps it, and the call throws `AGENT_STATE_IN_USE` (`conflict`): two agents with one journal would run one attempt twice.
 */
export function takeStateDir(path: string): StateDir {
  const attemptsPath = join(path, 'attempts');
  mkdirSync(attemptsPath, { recursive: true, mode: 0o700 });
  const lockPath = join(path, 'agent.lock');
  const lock = tryLockFile(lockPath);
  if (lock === undefined) {
    const pid = lockFileHolder(lockPath);
    throw new DroverError({
      code: 'AGENT_STATE_IN_USE',
      advice: 'conflict',
      message: `the state folder ${path} belongs to the agent of process ${pid ?? '(unknown)'}, which runs; give each agent its own`,
      details: { pid: pid ?? 0 },
    });
  }
  return {
    path,
    attemptsPath,
    journalPath: join(path, 'journal'),
    keptAgentId: keepAgentId(join(path, 'agent.id')),
    release: () => lock.release(),
  };
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
