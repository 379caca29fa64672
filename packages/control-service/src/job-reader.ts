import type { JobStatus } from '@drover/control-api';
import type { JobRecord, LeaseRecord, LogStore, StoreContext } from '@drover/lease-store';
import { jobStatusOf, type LeaseExtras } from './job-status.ts';
import { outputBytesMax, readOutput, type ReadOutputDeps } from './read-output.ts';

/** What a reader works with. */
export interface JobReaderDeps extends ReadOutputDeps {
  readonly logs: Pick<LogStore, 'list'>;
}

/** Leases whose logs are listed in one answer; those beyond are left out. */
const logListsMax = 200;
const listsAtOnce = 8;

/** Completes records of jobs with what other stores hold. One for each call: what cannot change any more is read once. */
export class JobReader {
  readonly #deps: JobReaderDeps;
  readonly #ended = new Map<string, LeaseExtras>();

  constructor(deps: JobReaderDeps) {
    this.#deps = deps;
  }

  /** A job with logs and outputs. */
  async read(job: JobRecord, context: StoreContext): Promise<JobStatus> {
    const extras = new Map<string, LeaseExtras>();
    const open = job.leases.filter(({ attempts }) => attempts.length > 0).slice(0, logListsMax);
    let outputBytes = 0;
    const next = open.values();
    await Promise.all(
      Array.from({ length: Math.min(listsAtOnce, open.length) }, async () => {
        for (const lease of next) {
          const extra = this.#ended.get(lease.leaseId) ?? (await this.#extrasOf(lease, context));
          if (lease.state === 'ended') this.#ended.set(lease.leaseId, extra);
          const { output, ...rest } = extra;
          outputBytes += output?.value.byteLength ?? 0;
          const kept = output !== undefined && outputBytes <= outputBytesMax;
          extras.set(lease.leaseId, kept ? { ...rest, output } : rest);
        }
      }),
    );
    return jobStatusOf(job, extras);
  }

  async #extrasOf(lease: LeaseRecord, context: StoreContext): Promise<LeaseExtras> {
    const last = lease.attempts.at(-1)!;
    const logs = await this.#deps.logs.list({ leaseId: lease.leaseId, attempt: last.attempt }, context);
    const output = lease.output && (await readOutput(lease.output, lease.leaseId, this.#deps, context.signal));
    return output === undefined ? { logs } : { logs, output };
  }
}
