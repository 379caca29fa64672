import { LeaseState } from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import type { CommandContext } from './command-context.ts';
import { callOptions, type FleetClient } from './fleet-client.ts';

/** Which logs to print. */
export interface FollowLogsOptions {
  readonly jobId: string;
  readonly follow: boolean;
  /** Absent means every batch. */
  readonly batch?: string;
  /** Absent means every step. */
  readonly step?: string;
}

/** Prints logs as they are, byte by byte, one after the other; with `follow`, each until it is complete. */
export async function followLogs(
  client: FleetClient,
  options: FollowLogsOptions,
  context: CommandContext,
): Promise<void> {
  const shown = new Set<string>();
  for (;;) {
    const { job } = await client.jobs.getJob({ jobId: options.jobId }, callOptions(context.signal));
    const leases = (job?.leases ?? []).filter(({ name }) => options.batch === undefined || name === options.batch);
    if (leases.length === 0) throw nothing(`the job has no batch ${options.batch ?? ''}`);
    for (const lease of leases) {
      for (const { name } of lease.logs) {
        const key = `${lease.leaseId}/${lease.attempts.length}/${name}`;
        if (shown.has(key) || (options.step !== undefined && name !== options.step)) continue;
        shown.add(key);
        await printLog(client, { leaseId: lease.leaseId, log: name, follow: options.follow }, context);
      }
    }
    const done = leases.every(({ state }) => state === LeaseState.ENDED);
    if (!options.follow || done) break;
    // A watch answers when anything of the job changed, a new log included.
    let updates = 0;
    for await (const _ of client.jobs.watchJob({ jobId: job?.jobId ?? '' }, { signal: context.signal })) {
      updates += 1;
      if (updates > 1) break;
    }
  }
  if (shown.size === 0 && options.step !== undefined) throw nothing(`the job has no log of a step ${options.step}`);
}

function nothing(message: string): DroverError {
  return new DroverError({ code: 'LOG_NOT_FOUND', advice: 'not-found', message });
}

async function printLog(
  client: FleetClient,
  request: { readonly leaseId: string; readonly log: string; readonly follow: boolean },
  context: CommandContext,
): Promise<void> {
  for await (const { data } of client.jobs.readLog(request, { signal: context.signal })) {
    if (!context.stdout.write(data)) await new Promise((resolve) => context.stdout.once('drain', resolve));
  }
}
