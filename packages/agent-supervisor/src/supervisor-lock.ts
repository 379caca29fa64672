import { linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { bootId, startTimeOf, type ProcessName } from './agent-process.ts';
import { SupervisorError } from './supervisor-error.ts';

/** Takes the lock of a folder; a holder that is gone loses it. Throws `SUPERVISOR_RUNS`. Answers how to let go. */
export function takeSupervisorLock(path: string): () => void {
  const mine: ProcessName = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', bootId: bootId() };
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(mine));
  try {
    for (let tries = 0; !tryLink(own, path); tries += 1) {
      const holder = readHolder(path);
      const lives = holder?.bootId === bootId() && startTimeOf(holder.pid) === holder.startTime;
      if (tries === 3 || lives) {
        throw new SupervisorError('SUPERVISOR_RUNS', `process ${holder?.pid ?? '?'} supervises this folder already`);
      }
      rmSync(path, { force: true });
    }
  } finally {
    rmSync(own, { force: true });
  }
  return () => rmSync(path, { force: true });
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

function readHolder(path: string): ProcessName | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as ProcessName;
  } catch {
    return undefined;
  }
}
