import type { ChildProcess } from 'node:child_process';
import { startFailureFromError, type ProcessRequest, type StartFailure } from './process-request.ts';
import type { RunningProcess } from './running-process.ts';

/** A run that could not be started. */
export function failedStart(request: ProcessRequest, failure: StartFailure, spoolStartBytes = 0): RunningProcess {
  return failedWhen(request, Promise.resolve(failure), spoolStartBytes);
}

/** Node tells of a failed spawn by an event. */
export function failedStartLater(
  request: ProcessRequest,
  child: ChildProcess,
  spoolStartBytes: number,
): RunningProcess {
  const failure = new Promise<StartFailure>((resolve) => {
    child.once('error', (error) => resolve(startFailureFromError(request.exe, error)));
  });
  return failedWhen(request, failure, spoolStartBytes);
}

function failedWhen(request: ProcessRequest, failure: Promise<StartFailure>, spoolStartBytes: number): RunningProcess {
  return {
    key: request.key,
    pid: undefined,
    startTime: undefined,
    spoolStartBytes,
    result: failure.then(({ code, message }) => ({
      kind: 'could-not-start',
      code,
      message,
      durationMs: 0,
      spoolSizeBytes: spoolStartBytes,
      stragglers: 0,
      treeGone: true,
    })),
    cancel: () => undefined,
  };
}
