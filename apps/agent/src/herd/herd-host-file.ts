import { DroverError } from '@drover/lease-kit';
import { isProcessAlive, lockFileHolder, readBootId, tryLockFile } from '@drover/process-runner';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a running agent leaves for commands on its machine. */
export interface HerdHostNote {
  readonly agentId: string;
  /** TCP port of its herd services. */
  readonly port: number;
}

/**
 * Takes the herd's folder for this process, and tells commands of the machine where it listens. Throws `AGENT_STATE_IN_USE`
 * while another process has it.
 */
export function takeHerdDir(dir: string): { tell(note: HerdHostNote): void } & Disposable {
  const lockPath = join(dir, 'agent.lock');
  const lock = tryLockFile(lockPath);
  if (lock === undefined) {
    throw new DroverError({
      code: 'AGENT_STATE_IN_USE',
      advice: 'conflict',
      message: `the herd's folder ${dir} belongs to the agent of process ${lockFileHolder(lockPath) ?? '(unknown)'}, which runs; give each agent a --state-dir of its own`,
    });
  }
  const path = join(dir, 'host.json');
  return {
    tell(note) {
      writeFileSync(`${path}.next`, `${JSON.stringify(note)}\n`, { mode: 0o600 });
      renameSync(`${path}.next`, path);
    },
    [Symbol.dispose]() {
      rmSync(path, { force: true });
      lock.release();
    },
  };
}

/** Where the agent of a herd's folder listens now; undefined while none runs. */
export function readHerdHost(dir: string): HerdHostNote | undefined {
  try {
    const { pid, startTime, bootId } = JSON.parse(readFileSync(join(dir, 'agent.lock'), 'utf8')) as Holder;
    // Who was killed has left both files.
    if (bootId !== readBootId() || !isProcessAlive({ pid, startTime: Number(startTime) })) return undefined;
    return JSON.parse(readFileSync(join(dir, 'host.json'), 'utf8')) as HerdHostNote;
  } catch {
    return undefined;
  }
}

interface Holder {
  readonly pid: number;
  readonly startTime?: number;
  readonly bootId?: string;
}
