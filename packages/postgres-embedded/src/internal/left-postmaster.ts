import { readFile, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { embeddedPostgresError, systemCode } from './errors.ts';
import { processFacts } from './process-identity.ts';

/** Marks the servers that this package started; it is on their command line. */
export const clusterName = 'drover-embedded';

const startTimeToleranceS = 5;
const pollMs = 10;

/** The pid in `postmaster.pid` while that very server runs on `clusterDir`; absent otherwise. */
export async function livePostmaster(clusterDir: string): Promise<number | undefined> {
  const found = await readPidFile(clusterDir);
  return found?.isServer === true ? found.pid : undefined;
}

/**
 * Removes a `postmaster.pid` whose pid now belongs to another process: Postgres would take that process for a server
 * and refuse to start. A file whose process is gone stays, since Postgres itself looks for leftovers by it.
 */
export async function removeMisleadingPidFile(clusterDir: string): Promise<void> {
  if ((await readPidFile(clusterDir))?.isServer === false)
    await rm(join(clusterDir, 'postmaster.pid'), { force: true });
}

/** Absent when there is no file or no such process. */
async function readPidFile(clusterDir: string): Promise<{ pid: number; isServer: boolean } | undefined> {
  let text: string;
  try {
    text = await readFile(join(clusterDir, 'postmaster.pid'), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  // Line 1 is the pid, line 3 when the server started: together they tell a reused pid from the server.
  const [pidLine, , startLine] = text.split('\n');
  const pid = Number(pidLine);
  const facts = Number.isInteger(pid) && pid > 0 ? processFacts(pid) : undefined;
  if (facts === undefined) return undefined;
  const isServer =
    facts.cwd === undefined
      ? Math.abs(facts.startedAtS - Number(startLine)) <= startTimeToleranceS
      : facts.cwd === (await realpath(clusterDir));
  return { pid, isServer };
}

/** Bounds of {@link stopLeftPostmaster}. */
export interface StopLeftPostmasterOptions {
  /** How long a fast shutdown (SIGINT) may take before an immediate one (SIGQUIT), which costs a recovery, not data. */
  readonly fastStopMs: number;
  /** How long the immediate one may take. */
  readonly immediateStopMs: number;
}

/**
 * Ends a server that an earlier process of ours left on the folder: by its watchdog it is going down already, or the
 * watchdog was killed too. Does nothing when there is none.
 *
 * @throws `EMBEDDED_POSTGRES_IN_USE` when somebody else started it, `EMBEDDED_POSTGRES_STUCK` when it does not end.
 */
export async function stopLeftPostmaster(clusterDir: string, options: StopLeftPostmasterOptions): Promise<boolean> {
  const pid = await livePostmaster(clusterDir);
  if (pid === undefined) return false;
  const facts = processFacts(pid);
  if (facts === undefined) return false;
  if (!facts.command.includes(clusterName)) {
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_IN_USE',
      `A Postgres that Drover did not start (process ${pid}) uses ${clusterDir}; stop it or choose another folder.`,
      { pid },
    );
  }
  for (const [signal, waitMs] of [
    ['SIGINT', options.fastStopMs],
    ['SIGQUIT', options.immediateStopMs],
  ] as const) {
    signalIfAlive(pid, signal);
    if (await endsWithin(pid, facts.identity, waitMs)) return true;
  }
  throw embeddedPostgresError(
    'EMBEDDED_POSTGRES_STUCK',
    `An earlier embedded Postgres (process ${pid}) in ${clusterDir} does not end; look at that process before you start again.`,
    { pid },
  );
}

function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}

/** Waits by polling, since the process is not our child. */
async function endsWithin(pid: number, identity: string, waitMs: number): Promise<boolean> {
  const deadline = performance.now() + waitMs;
  while (processFacts(pid)?.identity === identity) {
    if (performance.now() > deadline) return false;
    await delay(pollMs);
  }
  return true;
}
