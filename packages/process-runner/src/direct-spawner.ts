import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { startFailureFrom, startFailureFromError } from './process-request.ts';
import { readProcessRow } from './process-table.ts';
import type { ProcessSpawner, SpawnListener, SpawnRequest } from './process-spawner.ts';

const run = promisify(execFile);

/** Starts processes from this very process. What that costs grows with the memory of this process. */
export function createDirectSpawner(): ProcessSpawner {
  return {
    start(request, listener) {
      let child: ChildProcess;
      try {
        child = spawnOnto(request);
      } catch (error) {
        const failure = startFailureFromError(request.exe, error);
        queueMicrotask(() => listener.onFailure(failure));
        return;
      }
      follow(child, request, listener);
    },
    async makeFifo(path) {
      await run('mkfifo', ['-m', '600', '--', path]);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function spawnOnto({ exe, args, env, cwd, outputPath }: SpawnRequest): ChildProcess {
  const fd = openSync(outputPath, 'a');
  try {
    return spawn(exe, [...args], { cwd, env, stdio: ['ignore', fd, fd], detached: true, windowsHide: true });
  } finally {
    closeSync(fd);
  }
}

function follow(child: ChildProcess, request: SpawnRequest, listener: SpawnListener): void {
  const { pid } = child;
  if (pid === undefined) {
    child.once('error', (error) => listener.onFailure(startFailureFrom(request, error)));
    return;
  }
  child.once('exit', (exitCode, signal) => listener.onEnd(signal === null ? { exitCode: exitCode ?? 0 } : { signal }));
  // The row is there even if the child has ended: nobody has waited for it before Node's loop turns.
  listener.onStart(pid, readProcessRow(pid)?.startTime ?? 0);
}
