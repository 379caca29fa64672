import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { ServerUser } from './server-user.ts';

/**
 * The watchdog: starts the program and waits for the end of a pipe that only our process holds. When the pipe ends,
 * because we closed it or were killed, it interrupts the program (for Postgres: a fast shutdown). It is a shell script
 * because a shell is everywhere and costs a megabyte.
 */
const watchdog = `
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
( read -r line <&3; kill -INT "$program" ) >/dev/null 2>&1 &
reader=$!
exec 3<&-
wait "$program"
status=$?
kill "$reader" 2>/dev/null
exit "$status"
`;

const logTailLinesMax = 50;

/** How a supervised program ended. */
export interface SupervisedExit {
  /** Exit status; above 128 it is 128 plus the signal. Absent when the watchdog itself was killed. */
  readonly status: number | undefined;
  /** The last lines that it wrote, at most fifty. */
  readonly logTail: readonly string[];
}

/** A program that does not outlive this process. */
export interface SupervisedProcess {
  /** Resolves when it ended; never rejects. */
  readonly exited: Promise<SupervisedExit>;
  /** Asks it to end by SIGINT; harmless when called again. */
  interrupt(): void;
}

/** What to run, and as whom. */
export interface SupervisedProcessOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** Absent means the user of this process. */
  readonly user?: ServerUser | undefined;
  /** Called for each line that it writes to its output or its error output. */
  readonly onLine?: (line: string) => void;
}

/** Starts a program under the watchdog. A program that cannot be started shows as an exit. */
export function superviseProcess(options: SupervisedProcessOptions): SupervisedProcess {
  const { user } = options;
  const child = spawn('/bin/sh', ['-c', watchdog, 'drover-postgres-watchdog', options.command, ...options.args], {
    cwd: '/',
    // Nothing of ours leaks in: PGDATA or a locale of the caller would change what the server does.
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A session of its own: Ctrl+C in our terminal must not stop the database before we have drained.
    detached: true,
    ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
  });
  const logTail: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      logTail.push(line);
      if (logTail.length > logTailLinesMax) logTail.shift();
      options.onLine?.(line);
    });
  }
  // The pipe may break when the program ends first; that is an exit, not an error.
  child.stdin.on('error', () => undefined);
  return { exited: exitOf(child, logTail), interrupt: () => child.stdin.end() };
}

function exitOf(child: ChildProcess, logTail: string[]): Promise<SupervisedExit> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      logTail.push(error.message);
      resolve({ status: undefined, logTail });
    });
    child.once('close', (status) => resolve({ status: status ?? undefined, logTail }));
    // A killed watchdog leaves the program with our pipes: then there is no close, so the exit has to do.
    child.once('exit', (_status, signal) => {
      if (signal !== null) resolve({ status: undefined, logTail });
    });
  });
}
