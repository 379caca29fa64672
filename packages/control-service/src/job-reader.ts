import type { Any } from '@bufbuild/protobuf/wkt';
import type { JobStatus } from '@drover/control-api';
import type { ContentStore } from '@drover/content-store';
import type { Logger } from '@drover/lease-kit';
import type { JobRecord, LeaseRecord, LogStore, StoreContext } from '@drover/lease-store';
import { resolvePayload } from '@drover/task-sources';
import { jobStatusOf, type LeaseExtras } from './job-status.ts';

/** What a reader works with. */
export interface JobReaderDeps {
  readonly logs: Pick<LogStore, 'list'>;
  readonly blobs?: Pick<ContentStore, 'read'>;
  readonly logger: Logger;
}

/** Leases whose logs are listed in one answer, and bytes of outputs in it; what is beyond is left out. */
const logListsMax = 200;
const outputBytesMax = 2 * 1024 * 1024;
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
    const output = lease.output === undefined ? undefined : await this.#outputOf(lease.output, lease.leaseId, context);
    return output === undefined ? { logs } : { logs, output };
  }

  async #outputOf(output: Any, leaseId: string, context: StoreContext): Promise<Any | undefined> {
    const { blobs } = this.#deps;
    if (blobs === undefined) return output;
    try {
      return await resolvePayload(output, blobs, context.signal);
    } catch (error) {
      this.#deps.logger.warn({ err: error, leaseId }, 'an output cannot be read from the content store');
      return undefined;
    }
  }
}
