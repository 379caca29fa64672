import { isDroverError, principalName, type AssignedAttempt } from '@drover/lease-kit';
import { submissionsFull } from './input-errors.ts';
import type { JobDraft, JobStore, StoreContext, SubmittedJob } from '@drover/lease-store';

/** What became of one submission. */
export interface StoredSubmission {
  /** In the order of its jobs. */
  readonly jobs: readonly SubmittedJob[];
  readonly assigned: readonly AssignedAttempt[];
}

interface Entry {
  readonly drafts: readonly JobDraft[];
  readonly context: StoreContext;
  readonly leases: number;
  readonly answer: PromiseWithResolvers<StoredSubmission>;
}

/** Transactions under way at once; what comes meanwhile goes together into the next. */
const callsMax = 2;
/** Submissions that wait for their transaction; SUBMISSIONS_FULL beyond. */
const waitingMax = 4_096;
/** The store's bounds of one call. */
const jobsMax = 1_000;
const leasesMax = 1_000;

/**
 * Group commit for submissions: those that arrive while transactions are under way share the next one, which spares the
 * database a statement and a commit for each. A submission that the store refuses is not shared: each of a refused
 * transaction is tried by itself, so that all or none holds for every one of them alone.
 */
export class SubmitBatcher {
  readonly #jobs: Pick<JobStore, 'submit'>;
  readonly #queue: Entry[] = [];
  #calls = 0;

  constructor(jobs: Pick<JobStore, 'submit'>) {
    this.#jobs = jobs;
  }

  /** Stores jobs, all or none; rejects with what the store throws. An abort counts until the transaction starts. */
  submit(drafts: readonly JobDraft[], context: StoreContext): Promise<StoredSubmission> {
    if (this.#queue.length >= waitingMax) return Promise.reject(submissionsFull(waitingMax));
    const answer = Promise.withResolvers<StoredSubmission>();
    const leases = drafts.reduce((sum, draft) => sum + draft.leases.length, 0);
    this.#queue.push({ drafts, context, leases, answer });
    this.#start();
    return answer.promise;
  }

  #start(): void {
    while (this.#calls < callsMax && this.#queue.length > 0) {
      this.#calls += 1;
      void this.#run(this.#cut()).finally(() => {
        this.#calls -= 1;
        this.#start();
      });
    }
  }

  /** The oldest submission, and those behind it that may share its transaction. */
  #cut(): Entry[] {
    const first = this.#queue.shift()!;
    const batch = [first];
    const principal = principalName(first.context.principal);
    const requestIds = new Set(first.drafts.map(({ requestId }) => requestId));
    let jobs = first.drafts.length;
    let leases = first.leases;
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      jobs += next.drafts.length;
      leases += next.leases;
      const repeats = next.drafts.some(({ requestId }) => requestId !== undefined && requestIds.has(requestId));
      if (jobs > jobsMax || leases > leasesMax || repeats) break;
      if (principalName(next.context.principal) !== principal) break;
      for (const { requestId } of next.drafts) requestIds.add(requestId);
      batch.push(this.#queue.shift()!);
    }
    return batch;
  }

  async #run(batch: readonly Entry[]): Promise<void> {
    const open = batch.filter(({ context, answer }) => {
      if (context.signal?.aborted !== true) return true;
      answer.reject(context.signal.reason);
      return false;
    });
    const [only] = open;
    if (only === undefined) return;
    if (open.length === 1) return this.#runOne(only);
    try {
      // Without a signal: one caller that hangs up must not end the call of the others.
      const drafts = open.flatMap((entry) => entry.drafts);
      const stored = await this.#jobs.submit(drafts, { principal: only.context.principal });
      const byLease = new Map(stored.assigned.map((attempt) => [attempt.leaseId, attempt]));
      let from = 0;
      for (const { drafts, answer } of open) {
        const ids = drafts.flatMap(({ leases }) => leases.map(({ draft }) => draft.leaseId));
        answer.resolve({
          jobs: stored.jobs.slice(from, from + drafts.length),
          assigned: ids.flatMap((id) => byLease.get(id) ?? []),
        });
        from += drafts.length;
      }
    } catch (error) {
      const refused = isDroverError(error) && ['fix-input', 'conflict', 'denied'].includes(error.advice);
      if (refused) for (const entry of open) await this.#runOne(entry);
      else for (const { answer } of open) answer.reject(error);
    }
  }

  async #runOne({ drafts, context, answer }: Entry): Promise<void> {
    try {
      answer.resolve(await this.#jobs.submit(drafts, context));
    } catch (error) {
      answer.reject(error);
    }
  }
}
