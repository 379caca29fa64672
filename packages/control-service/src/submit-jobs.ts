import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { JobSubmission } from '@drover/control-api';
import {
  DroverError,
  isDroverError,
  silentLogger,
  systemClock,
  payloadTypeOf,
  principalName,
  type AssignedAttempt,
  type Clock,
  type JobPlanner,
  type LeaseDraft,
  type Logger,
  type PlannedLease,
} from '@drover/lease-kit';
import { checkRequirements } from '@drover/lease-matching';
import type { JobDraft, StoreContext, SubmittedJob } from '@drover/lease-store';
import { isPayloadReference, leasePinOwner, payloadPinMs, withReferencedPayload } from '@drover/task-sources';
import { checkSubmits } from './call-scope.ts';
import type { ControlServiceDeps, ControlServiceOptions } from './control-service-options.ts';
import { inputInvalid } from './input-errors.ts';
import { sealerFor } from './seal-secrets.ts';
import { SubmitBatcher, type StoredSubmission } from './submit-batcher.ts';
import { uuidV7 } from './uuid-v7.ts';

const jobsMax = 1_000;
const leasesMax = 1_000;
const nameLengthMax = 256;
const requestIdLengthMax = 128;
const priorityMax = 1_000;
/** What a job without a planner is leased under. */
const unplanned: Pick<PlannedLease, 'runLimitMs' | 'cancelGraceMs' | 'retry'> = {
  runLimitMs: 24 * 3_600_000,
  cancelGraceMs: 10_000,
  retry: { attemptsMax: 2, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 1_000 },
};

/** What a submitter works with; as in the deps of the service. */
export type JobSubmitterDeps = Pick<
  ControlServiceDeps,
  'planners' | 'reserved' | 'placement' | 'blobs' | 'secrets' | 'clock' | 'logger'
> & {
  readonly store: Pick<ControlServiceDeps['store'], 'jobs' | 'signals'>;
};

/** On whose behalf jobs are submitted. */
export interface SubmitContext extends StoreContext {
  /** The pools that the submitter is limited to, `POOL_OUT_OF_SCOPE` beyond; absent: none. */
  readonly pools?: readonly string[];
}

/** Submits jobs from the server's own process, as `SubmitJobs` does for others. */
export interface JobSubmitter {
  /**
   * Stores jobs, all or none, and resolves with their ids in the same order when they are stored; leases that could be bound
   * to a waiting agent are on their way to it then. Rejects with what `SubmitJobs` answers: `fix-input` for what is not
   * right, `unavailable` if nobody can say whether it is stored, for which a request id makes a second call safe. An abort
   * counts until the transaction starts.
   */
  submit(jobs: readonly JobSubmission[], context: SubmitContext): Promise<readonly string[]>;
}

/** Makes a {@link JobSubmitter}. One for each process: submissions that come at the same time share a commit. */
export function createJobSubmitter(
  deps: JobSubmitterDeps,
  options: Pick<ControlServiceOptions, 'unplannedSource'> = {},
): JobSubmitter {
  return new BatchingJobSubmitter(deps, options.unplannedSource ?? 'job');
}

interface PlannedJob {
  readonly submission: JobSubmission;
  readonly jobId: string;
  readonly drafts: readonly LeaseDraft[];
  /** Sealed secrets by lease. */
  readonly sealed: ReadonlyMap<string, Uint8Array>;
}

/** What can be bound to a waiting agent is bound in the same commit. */
class BatchingJobSubmitter implements JobSubmitter {
  readonly #deps: JobSubmitterDeps;
  readonly #unplannedSource: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #planners: ReadonlyMap<string, JobPlanner>;
  readonly #batcher: SubmitBatcher;

  constructor(deps: JobSubmitterDeps, unplannedSource: string) {
    this.#deps = deps;
    this.#unplannedSource = unplannedSource;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#batcher = new SubmitBatcher(deps.store.jobs);
    this.#planners = new Map(deps.planners.map((planner) => [planner.payloadType, planner]));
  }

  async submit(submissions: readonly JobSubmission[], context: SubmitContext): Promise<readonly string[]> {
    const { placement, blobs } = this.#deps;
    const planned = this.#plan(submissions, principalName(context.principal));
    checkSubmits(
      context,
      planned.flatMap(({ drafts }) => drafts),
    );
    const pinned: string[] = [];
    const release = (owners: readonly string[]): void => {
      for (const owner of owners) blobs?.unpin(owner).catch((error: unknown) => this.#logUnpin(owner, error));
    };
    try {
      const jobs: { readonly job: PlannedJob; readonly payload: Any; readonly drafts: readonly LeaseDraft[] }[] = [];
      for (const job of planned) jobs.push({ job, ...(await this.#referenced(job, pinned, context.signal)) });
      const reservation = placement?.reserve(jobs.flatMap(({ drafts }) => drafts));
      const drafts = jobs.map(({ job, payload, drafts }): JobDraft => {
        const { submission, jobId } = job;
        return {
          jobId,
          ...(submission.requestId === '' ? {} : { requestId: submission.requestId }),
          name: submission.name,
          payload,
          priority: submission.priority,
          leases: drafts.map((draft) => {
            const bindTo = reservation?.bindings.get(draft.leaseId);
            const secrets = job.sealed.get(draft.leaseId);
            const entry = secrets === undefined ? { draft, jobId } : { draft, jobId, secrets };
            return bindTo === undefined ? entry : { ...entry, bindTo };
          }),
        };
      });
      let stored: StoredSubmission;
      try {
        stored = await this.#batcher.submit(drafts, context);
      } catch (error) {
        reservation?.release();
        throw error;
      }
      reservation?.confirm(stored.assigned);
      this.#announce(drafts, stored.jobs, stored.assigned);
      release(repeatedPins(drafts, stored.jobs, pinned));
      // HTTP/2 sends at the end of a turn of the event loop: the offers leave in this one, and not behind the work of
      // answering the caller, which takes as long as all that happened to them.
      if (stored.assigned.length > 0) await nextTurn();
      return stored.jobs.map(({ jobId }) => jobId);
    } catch (error) {
      // A call that nobody answered may have stored the jobs: their pins end by themselves.
      if (isDroverError(error) && error.advice !== 'unavailable' && error.advice !== 'cancelled') release(pinned);
      throw error;
    }
  }

  #plan(submissions: readonly JobSubmission[], submitter: string): PlannedJob[] {
    if (submissions.length < 1 || submissions.length > jobsMax) {
      throw inputInvalid('INVALID_JOB_COUNT', 'jobs', `${submissions.length} jobs`, `1 to ${jobsMax}`);
    }
    const planned = submissions.map((submission, index) => this.#planOne(submission, `jobs[${index}]`, submitter));
    const leases = planned.reduce((sum, { drafts }) => sum + drafts.length, 0);
    if (leases > leasesMax) {
      throw inputInvalid('TOO_MANY_LEASES', 'jobs', `they become ${leases} leases`, `at most ${leasesMax} in one call`);
    }
    return planned;
  }

  #planOne(submission: JobSubmission, where: string, submitter: string): PlannedJob {
    const { payload, name, requestId, priority } = submission;
    if (payload === undefined || payloadTypeOf(payload) === '') {
      throw inputInvalid('PAYLOAD_MISSING', `${where}.payload`, 'it is missing or has no type', 'a packed message');
    }
    checkSubmittable(payload, where, this.#deps.reserved);
    if (name.length > nameLengthMax) {
      throw inputInvalid('INVALID_JOB_NAME', `${where}.name`, `${name.length} characters`, `at most ${nameLengthMax}`);
    }
    if (requestId.length > requestIdLengthMax) {
      const allowed = `at most ${requestIdLengthMax} characters`;
      throw inputInvalid('INVALID_REQUEST_ID', `${where}.request_id`, `${requestId.length} characters`, allowed);
    }
    if (Math.abs(priority) > priorityMax) {
      const allowed = `${-priorityMax} to ${priorityMax}`;
      throw inputInvalid('INVALID_PRIORITY', `${where}.priority`, String(priority), allowed);
    }
    const planner = this.#planners.get(payloadTypeOf(payload));
    const leases: readonly PlannedLease[] = planner?.plan(payload) ?? [
      { name, payload, requirements: {}, ...unplanned },
    ];
    const source = planner?.source ?? this.#unplannedSource;
    if (leases.length < 1 || leases.length > leasesMax) {
      throw inputInvalid('TOO_MANY_LEASES', where, `it becomes ${leases.length} leases`, `1 to ${leasesMax}`);
    }
    const nowMs = this.#clock.wallMs();
    const seal = sealerFor(submission, leases, planner !== undefined, where, this.#deps.secrets);
    const sealed = new Map<string, Uint8Array>();
    const drafts = leases.map((lease) => {
      checkRequirements(lease.requirements);
      const leaseId = uuidV7(nowMs);
      const secrets = seal(leaseId, lease);
      if (secrets !== undefined) sealed.set(leaseId, secrets);
      const { secrets: _, ...planned } = lease;
      return { ...planned, leaseId, priority, source, submitter };
    });
    return { submission, jobId: randomUUID(), drafts, sealed };
  }

  /** Puts large payloads into the content store and pins them; adds the owners of the pins to `pinned`. */
  async #referenced(
    job: PlannedJob,
    pinned: string[],
    signal: AbortSignal | undefined,
  ): Promise<{ readonly payload: Any; readonly drafts: readonly LeaseDraft[] }> {
    const { blobs } = this.#deps;
    const payload = job.submission.payload!;
    if (blobs === undefined) return { payload, drafts: job.drafts };
    const drafts: LeaseDraft[] = [];
    const pin = async (owner: string, digest: Parameters<typeof blobs.pin>[0][number]): Promise<void> => {
      pinned.push(owner);
      const missing = await blobs.pin([digest], { owner, expiresAfterMs: payloadPinMs });
      if (missing.length > 0) throw new Error('a payload vanished from the content store before it could be pinned');
    };
    for (const draft of job.drafts) {
      const { draft: stored, digest } = await withReferencedPayload(draft, blobs, signal);
      if (digest !== undefined) await pin(leasePinOwner(draft.leaseId), digest);
      drafts.push(stored);
    }
    // The job's own message is needed as long as its first lease at the least.
    const whole = await withReferencedPayload({ payload }, blobs, signal);
    if (whole.digest !== undefined) await pin(leasePinOwner(job.drafts[0]!.leaseId), whole.digest);
    return { payload: whole.draft.payload, drafts };
  }

  #announce(drafts: readonly JobDraft[], jobs: readonly SubmittedJob[], assigned: readonly AssignedAttempt[]): void {
    const { signals } = this.#deps.store;
    const bound = new Set(assigned.map(({ leaseId }) => leaseId));
    const sources = new Set<string>();
    drafts.forEach(({ leases }, index) => {
      if (jobs[index]!.repeated) return;
      for (const { draft } of leases) if (!bound.has(draft.leaseId)) sources.add(draft.source);
    });
    for (const source of sources) signals.announce({ kind: 'work', source });
  }

  #logUnpin(owner: string, error: unknown): void {
    this.#logger.warn({ err: error, owner }, 'blobs of a submission stay pinned until they expire');
  }
}

/** Throws PAYLOAD_RESERVED, and PAYLOAD_INVALID for what only servers write. */
function checkSubmittable(payload: Any, where: string, reserved: ReadonlySet<string> | undefined): void {
  // A reference says by itself what type it is of; what it leads to could be of another.
  if (isPayloadReference(payload)) {
    throw inputInvalid('PAYLOAD_INVALID', `${where}.payload`, 'it is a reference', 'the message itself');
  }
  const type = payloadTypeOf(payload);
  if (reserved?.has(type) !== true) return;
  throw new DroverError({
    code: 'PAYLOAD_RESERVED',
    advice: 'denied',
    message: `${where}.payload: a ${type} is no job: the server makes it of agents when an operator wants it ("drover agents").`,
    details: { where: `${where}.payload`, type },
  });
}

function repeatedPins(
  drafts: readonly JobDraft[],
  jobs: readonly SubmittedJob[],
  pinned: readonly string[],
): readonly string[] {
  const owners = new Set(pinned);
  return drafts
    .filter((_, index) => jobs[index]!.repeated)
    .flatMap(({ leases }) => leases.map(({ draft }) => leasePinOwner(draft.leaseId)))
    .filter((owner) => owners.has(owner));
}
