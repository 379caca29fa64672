import { Code, ConnectError } from '@connectrpc/connect';
import { LeaseState, type JobStatus, type LeaseStatus } from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import type { FleetClient } from './fleet-client.ts';
import { progressLines } from './output/job-view.ts';
import type { LiveDisplay } from './output/live-display.ts';
import { printable } from './output/print-table.ts';
import { jobHasEnded } from './output/words.ts';

/** What to show while a job runs. */
export interface FollowJobOptions {
  readonly jobId: string;
  readonly display: LiveDisplay;
  /** Show the logs of its leases too, while they are written. */
  readonly logs: boolean;
  readonly columns: () => number;
}

/** How long a server may be away before following it is given up. */
const absenceMsMax = 60_000;
/** How long the logs of an ended lease may take to come. */
const logsEndMs = 15_000;

/**
 * Follows a job until it has ended and shows its progress and its logs. A server that goes away is waited for. Answers the
 * job as it ended; on abort it throws the signal's reason and the job goes on.
 */
export async function followJob(
  client: FleetClient,
  options: FollowJobOptions,
  signal: AbortSignal,
): Promise<JobStatus> {
  const logs = new LogFollower(client, options.display, signal);
  let job: JobStatus | undefined;
  let awaySinceMs: number | undefined;
  for (;;) {
    try {
      for await (const update of client.jobs.watchJob({ jobId: options.jobId }, { signal })) {
        awaySinceMs = undefined;
        if (!update.job) continue;
        job = update.job;
        options.display.status(progressLines(job, options.columns()));
        if (options.logs) logs.follow(job.leases);
        if (jobHasEnded(job.state)) break;
      }
      if (job && jobHasEnded(job.state)) break;
    } catch (error) {
      if (signal.aborted || !isAway(error)) throw error;
    }
    awaySinceMs ??= Date.now();
    if (Date.now() - awaySinceMs > absenceMsMax) {
      throw new DroverError({
        code: 'SERVER_UNREACHABLE',
        advice: 'unavailable',
        message: `${client.url} has been away for ${absenceMsMax / 1_000} s; the job goes on without this command`,
      });
    }
    await delay(500, undefined, { signal });
  }
  await logs.finish();
  options.display.end();
  return job;
}

function isAway(error: unknown): boolean {
  return (
    error instanceof ConnectError && [Code.Unavailable, Code.Aborted, Code.Canceled, Code.Internal].includes(error.code)
  );
}

/** Follows every log of every attempt that it is told of, and prints whole lines, each with the log's name. */
class LogFollower {
  readonly #client: FleetClient;
  readonly #display: LiveDisplay;
  readonly #signal: AbortSignal;
  readonly #followed = new Map<string, Promise<void>>();
  readonly #giveUp = new AbortController();

  constructor(client: FleetClient, display: LiveDisplay, signal: AbortSignal) {
    this.#client = client;
    this.#display = display;
    this.#signal = AbortSignal.any([signal, this.#giveUp.signal]);
  }

  follow(leases: readonly LeaseStatus[]): void {
    for (const lease of leases) {
      const attempt = lease.attempts.at(-1)?.attempt;
      if (attempt === undefined || lease.state === LeaseState.WAITING) continue;
      for (const { name } of lease.logs) {
        const key = `${lease.leaseId}/${attempt}/${name}`;
        if (!this.#followed.has(key)) this.#followed.set(key, this.#read(lease, attempt, name, leases.length > 1));
      }
    }
  }

  /** Waits until every followed log was printed to its end. */
  async finish(): Promise<void> {
    const timer = setTimeout(() => this.#giveUp.abort(), logsEndMs);
    await Promise.all(this.#followed.values());
    clearTimeout(timer);
  }

  async #read(lease: LeaseStatus, attempt: number, log: string, hasSiblings: boolean): Promise<void> {
    const name = hasSiblings ? `${lease.name}/${log}` : log;
    const prefix = styleText('cyan', `${printable(name).padEnd(10)} │ `);
    const decoder = new TextDecoder();
    let rest = '';
    try {
      const request = { leaseId: lease.leaseId, attempt, log, follow: true };
      for await (const { data } of this.#client.jobs.readLog(request, { signal: this.#signal })) {
        const lines = (rest + decoder.decode(data, { stream: true })).split('\n');
        rest = lines.pop() ?? '';
        if (lines.length > 0) this.#display.print(lines.map((line) => prefix + logLine(line)));
      }
    } catch (error) {
      if (!this.#signal.aborted && !isAway(error)) {
        this.#display.print([`${prefix}${styleText('yellow', `the log cannot be read: ${String(error)}`)}`]);
      }
    }
    if (rest !== '') this.#display.print([prefix + logLine(rest)]);
  }
}

/** A line of a log for a terminal: colours stay, everything else that moves the cursor goes. */
function logLine(line: string): string {
  const last = line.replace(/\r+$/, '').split('\r').at(-1) ?? '';
  return last
    .split(/(\u001b\[[0-9;]*m)/)
    .map((part, i) => (i % 2 === 1 ? part : printable(part)))
    .join('');
}
