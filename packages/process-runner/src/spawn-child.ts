import { spawn, type ChildProcess } from 'node:child_process';
import type { ProcessCgroup } from './process-cgroup.ts';
import { markerValue, processKeyVariable } from './process-marker.ts';
import { startFailureFromError, type ProcessRequest, type StartFailure } from './process-request.ts';
import type { ProcessSpool } from './process-spool.ts';
import { readProcessTable } from './process-table.ts';

/** `spawn` refused its arguments before it made a process. */
export class SpawnRefused extends Error {
  readonly failure: StartFailure;
  constructor(failure: StartFailure) {
    super(failure.message);
    this.failure = failure;
  }
}

/**
 * Spawns the child with both streams on the spool, in a session of its own and with its marker. Throws {@link SpawnRefused};
 * a child without a pid tells by its `error` event why there is none.
 */
export function spawnChild(request: ProcessRequest, spool: ProcessSpool, marker: string): ChildProcess {
  try {
    return spawn(request.exe, [...request.args], {
      cwd: request.cwd,
      env: { ...request.env, [processKeyVariable]: markerValue(marker, process.env[processKeyVariable]) },
      stdio: ['ignore', spool.fd, spool.fd],
      // A new session and process group (setsid), led by the child.
      detached: true,
      shell: false,
      windowsHide: true,
    });
  } catch (error) {
    throw new SpawnRefused(startFailureFromError(request.exe, error));
  }
}

/** Moves a process into its group; false, and the group removed, when that is not allowed. */
export function moveIn(cgroup: ProcessCgroup, pid: number): boolean {
  try {
    cgroup.add(pid);
    return true;
  } catch (error) {
    // It has ended already: its children are found by group and marker.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true;
    cgroup.remove();
    return false;
  }
}

/** Moves what the process forked before it was moved itself, until a look finds nobody outside. */
export function moveEarlyChildren(cgroup: ProcessCgroup, pid: number): void {
  for (let looks = 0; looks < 8; looks++) {
    const inside = new Set(cgroup.pids());
    const outside = [...readProcessTable().values()].filter(
      (row) =>
        !inside.has(row.pid) && row.pid !== process.pid && (row.processGroup === pid || inside.has(row.parentPid)),
    );
    if (outside.length === 0) return;
    for (const row of outside) {
      try {
        cgroup.add(row.pid);
      } catch {
        // It ended, or it is not ours to move: the next look tells.
      }
    }
  }
}
