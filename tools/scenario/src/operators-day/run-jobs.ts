import type { Client } from '@connectrpc/connect';
import { JobState, type JobService, type JobStatus } from '@drover/control-api';
import { setTimeout as pause } from 'node:timers/promises';
import type { FleetOfTheDay } from './fleet-of-the-day.ts';
import { mixedJobs } from './mixed-jobs.ts';
import type { Witness } from './witness.ts';

type Jobs = Client<typeof JobService>;

const endStates: ReadonlySet<JobState> = new Set([JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);
const lookMs = 250;
const pageSize = 500;

/** Jobs of the day, as they were submitted. */
export class JobsOfTheDay {
  readonly #fleet: FleetOfTheDay;
  readonly #witness: Witness;
  readonly #names: string[] = [];

  constructor(fleet: FleetOfTheDay, witness: Witness) {
    this.#fleet = fleet;
    this.#witness = witness;
  }

  /** Names of all jobs that were submitted so far. */
  get names(): readonly string[] {
    return this.#names;
  }

  /** Submits `count` jobs of mixed needs in one call. */
  async submit(prefix: string, count: number): Promise<void> {
    if (count === 0) return;
    const jobs = mixedJobs(prefix, count, this.#witness);
    await this.#fleet.client.jobs.submitJobs({ jobs });
    this.#names.push(...jobs.map(({ name }) => name));
  }

  /** Resolves with all jobs once each of them has ended; rejects when that takes longer than `limitMs`. */
  async allEnded(limitMs: number, signal: AbortSignal): Promise<readonly JobStatus[]> {
    const { jobs } = this.#fleet.client;
    const deadline = AbortSignal.timeout(limitMs);
    for (;;) {
      const all = await everyJob(jobs);
      const open = all.filter(({ state }) => !endStates.has(state));
      if (open.length === 0 && all.length === this.#names.length) return all;
      if (deadline.aborted) {
        const names = open.map(({ name }) => name);
        throw new Error(
          `${open.length} of ${this.#names.length} jobs have not ended: ${names.slice(0, 10).join(', ')}`,
        );
      }
      await pause(lookMs, undefined, { signal });
    }
  }
}

/** Every job that the server knows of. */
export async function everyJob(jobs: Jobs): Promise<readonly JobStatus[]> {
  const all: JobStatus[] = [];
  let pageToken = '';
  do {
    const page = await jobs.listJobs({ pageSize, pageToken });
    all.push(...page.jobs);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return all;
}
