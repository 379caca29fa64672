import { create } from '@bufbuild/protobuf';
import { callerKey, changeFrom, seesPool } from '@drover/access';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import {
  CancelJobResponseSchema,
  FleetService,
  GetJobResponseSchema,
  JobService,
  ListJobsResponseSchema,
  ListLeasesResponseSchema,
  SubmitJobsResponseSchema,
  type CancelJobRequest,
  type JobSubmission,
  type ListJobsRequest,
  type ListJobsResponse,
} from '@drover/control-api';
import { openPolicy } from '@drover/fleet-policy';
import { DroverError, silentLogger, systemClock } from '@drover/lease-kit';
import type { AgentRecord, JobRecord } from '@drover/lease-store';
import { connectErrorFrom, convertErrors } from '@drover/rpc-errors';
import { leasePinOwner } from '@drover/task-sources';
import { registerAgentService } from './agent-service.ts';
import { checkCancels, seesJob, seesLease, visibleJobs, type Call } from './call-scope.ts';
import type { ControlServiceDeps, ControlServiceOptions, UnaryCall } from './control-service-options.ts';
import { storedTraits } from './fleet-reader.ts';
import { observeFleet } from './fleet-metrics.ts';
import { explainJob } from './explain-job.ts';
import { Followers } from './followers.ts';
import { checkJobId, idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';
import { JobReader } from './job-reader.ts';
import { jobStateOf, jobStatusOf, leaseStatusOf } from './job-status.ts';
import { listAgents } from './list-agents.ts';
import { registerPoolService } from './pool-service.ts';
import { readLog } from './read-log.ts';
import { ScaleHints } from './scale-hints.ts';
import { createJobSubmitter, type JobSubmitter } from './submit-jobs.ts';
import { visiblePage } from './visible-page.ts';
import { watchJob } from './watch-job.ts';

const jobsPageMax = 500;
const jobsPageDefault = 50;
const fleetPageMax = 1_000;
const fleetPageDefault = 200;
const reasonBytesMax = 1_024;
/** Names of jobs in one line of the audit. */
const namesNotedMax = 20;
/** Pages of the store that one filtered list may look through. */
const filteredPagesMax = 20;

/**
 * Puts JobService, FleetService, AgentService and PoolService of drover.control.v1 on a router. Throws a DroverError with code
 * `CONTROL_SERVICE_INVALID` for two planners of one payload type.
 */
export function registerControlService(
  router: ConnectRouter,
  deps: ControlServiceDeps,
  options: ControlServiceOptions = {},
): ConnectRouter {
  const service = new ControlService(deps, options);
  const unary: UnaryCall = async (context, run) => {
    try {
      return await run(callOf(deps, context));
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  const stream = <T>(context: HandlerContext, run: (call: Call) => AsyncGenerator<T>): AsyncIterable<T> =>
    convertErrors({ [Symbol.asyncIterator]: () => run(callOf(deps, context)) }, connectErrorFrom);
  router.service(JobService, {
    submitJobs: (request, context) =>
      unary(context, async (call) => {
        const jobIds = await service.submitter.submit(request.jobs, call);
        noteSubmitted(call, request.jobs, jobIds);
        return create(SubmitJobsResponseSchema, { jobIds: [...jobIds] });
      }),
    getJob: (request, context) =>
      unary(context, async (call) => {
        const job = await visibleJobs(deps.store.jobs, call).job(checkJobId(request.jobId), call);
        return create(GetJobResponseSchema, { job: await service.reader().read(job, call) });
      }),
    listJobs: (request, context) => unary(context, (call) => service.listJobs(request, call)),
    watchJob: (request, context) => stream(context, (call) => service.watch(checkJobId(request.jobId), call)),
    cancelJob: (request, context) =>
      unary(context, async (call) => {
        await service.cancel(request, call);
        return create(CancelJobResponseSchema);
      }),
    readLog: (request, context) =>
      stream(context, (call) => {
        const jobs = visibleJobs(deps.store.jobs, call);
        return readLog(request, { jobs, logs: deps.store.logs, followers: service.followers }, call);
      }),
  });
  const { policy, clock } = service;
  const hints = new ScaleHints({ ...deps.store, policy, clock });
  if (deps.meter !== undefined) observeFleet(deps.meter, hints);
  registerPoolService(router, { ...deps.store, policy, hints }, unary);
  registerAgentService(router, { ...deps.store, policy, clock }, unary);
  return router.service(FleetService, {
    listAgents: (request, context) =>
      unary(context, async (call) => {
        const sees = (agent: AgentRecord): boolean => service.seesAgent(agent, call);
        return listAgents(request, { ...deps.store, sees, policy: service.policy }, call);
      }),
    listLeases: (request, context) =>
      unary(context, async (call) => {
        const limit = pageSizeOf(request.pageSize, fleetPageDefault, fleetPageMax);
        const after = idFromPageToken(request.pageToken);
        const ofAgent = request.agentId === '' ? {} : { agentId: request.agentId };
        const { rows, next } = await visiblePage({
          limit,
          after,
          fetch: (page) => deps.store.jobs.liveLeases({ ...page, ...ofAgent }, call),
          idOf: ({ leaseId }) => leaseId,
          isVisible: (lease) => seesLease(call, lease),
        });
        const nextPageToken = next === undefined ? '' : pageTokenOf(next);
        return create(ListLeasesResponseSchema, { leases: rows.map((lease) => leaseStatusOf(lease)), nextPageToken });
      }),
    explainJob: (request, context) =>
      unary(context, async (call) => {
        const { jobs, sessions } = deps.store;
        const job = await visibleJobs(jobs, call).job(checkJobId(request.jobId), call);
        const sees = (agent: AgentRecord): boolean => service.seesAgent(agent, call);
        const { policy, clock } = service;
        return explainJob(job, { jobs, sessions, sees, policy, nowMs: clock.wallMs() }, call);
      }),
  });
}

class ControlService {
  readonly submitter: JobSubmitter;
  readonly followers: Followers;
  readonly policy: NonNullable<ControlServiceDeps['policy']>;
  readonly clock;
  readonly #deps: ControlServiceDeps;
  readonly #logger;
  readonly #watchSpacingMs: number;

  constructor(deps: ControlServiceDeps, options: ControlServiceOptions) {
    checkPlanners(deps);
    this.#deps = deps;
    this.clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.policy = deps.policy ?? openPolicy;
    this.#watchSpacingMs = options.watchSpacingMs ?? 100;
    const { followersMax = 1_024, pollMs = 1_000 } = options;
    this.followers = new Followers(deps.store.signals, this.clock, followersMax, pollMs);
    this.submitter = createJobSubmitter(deps, options);
  }

  reader(): JobReader {
    const { store, blobs } = this.#deps;
    const base = { logs: store.logs, logger: this.#logger };
    return new JobReader(blobs === undefined ? base : { ...base, blobs });
  }

  watch(idOrPrefix: string, call: Call): ReturnType<typeof watchJob> {
    const jobs = visibleJobs(this.#deps.store.jobs, call);
    const deps = { jobs, reader: this.reader(), followers: this.followers, clock: this.clock };
    return watchJob(idOrPrefix, { ...deps, spacingMs: this.#watchSpacingMs }, call);
  }

  /** True if the caller may see an agent: of one limited to pools, those in one of them. */
  seesAgent(agent: AgentRecord, call: Call): boolean {
    if (call.pools === undefined) return true;
    return storedTraits(agent, this.policy).pools.some((pool) => seesPool(call, pool));
  }

  async listJobs(request: ListJobsRequest, call: Call): Promise<ListJobsResponse> {
    const limit = pageSizeOf(request.pageSize, jobsPageDefault, jobsPageMax);
    let before = idFromPageToken(request.pageToken);
    const states = new Set(request.states);
    const found: JobRecord[] = [];
    for (let pages = 0; ; pages += 1) {
      const page = await this.#deps.store.jobs.jobs(before === undefined ? { limit } : { before, limit }, call);
      const fitting = page.filter(
        (job) => seesJob(call, job) && (states.size === 0 || states.has(jobStateOf(job.leases))),
      );
      const taken = fitting.slice(0, limit - found.length);
      found.push(...taken);
      const all = page.length < limit && taken.length === fitting.length;
      // A page that was cut goes on behind the last job that was taken, another one behind its last job.
      before = taken.length < fitting.length ? taken.at(-1)!.jobId : page.at(-1)?.jobId;
      if (all || found.length === limit || pages === filteredPagesMax) {
        const jobs = found.map((job) => jobStatusOf(job, new Map()));
        return create(ListJobsResponseSchema, {
          jobs,
          nextPageToken: all || before === undefined ? '' : pageTokenOf(before),
        });
      }
    }
  }

  async cancel(request: CancelJobRequest, call: Call): Promise<void> {
    if (Buffer.byteLength(request.reason) > reasonBytesMax) {
      const problem = `${Buffer.byteLength(request.reason)} bytes`;
      throw inputInvalid('INVALID_CANCEL_REASON', 'reason', problem, `at most ${reasonBytesMax}`);
    }
    const { store, blobs } = this.#deps;
    const job = await visibleJobs(store.jobs, call).job(checkJobId(request.jobId), call);
    checkCancels(call, job);
    const { jobId } = job;
    const wished = await store.jobs.wishCancel(jobId, request.reason, call);
    for (const agentId of new Set(wished.map((attempt) => attempt.agentId))) {
      store.signals.announce({ kind: 'cancel', agentId });
    }
    store.signals.announce({ kind: 'job', jobId });
    const before = { name: job.name, submitter: job.submitter, cancelWished: job.cancelWished };
    call.change?.note({
      subject: `job:${jobId}`,
      before,
      after: { ...before, cancelWished: true, reason: request.reason },
    });
    if (blobs === undefined) return;
    // Leases that waited have ended here, where no server is told of it.
    const after = await store.jobs.job(jobId, call);
    for (const { leaseId, state } of after.leases) if (state === 'ended') await blobs.unpin(leasePinOwner(leaseId));
  }
}

function callOf(deps: ControlServiceDeps, context: HandlerContext): Call {
  const { values, signal } = context;
  const { role, pools } = values.get(callerKey);
  const change = changeFrom(values);
  return {
    principal: deps.principalOf(context),
    signal,
    ...(role === undefined ? {} : { role }),
    ...(pools === undefined ? {} : { pools }),
    ...(change === undefined ? {} : { change }),
  };
}

/** One line of the audit for a call: the jobs themselves remember what they are, and who submitted them. */
function noteSubmitted({ change }: Call, jobs: readonly JobSubmission[], jobIds: readonly string[]): void {
  const names = [...new Set(jobs.map(({ name }) => name))].slice(0, namesNotedMax);
  change?.note({
    subject: `job:${jobIds[0]}`,
    after: jobIds.length === 1 ? { name: names[0] } : { jobs: jobIds.length, names, last: jobIds.at(-1) },
  });
}

function checkPlanners({ planners }: ControlServiceDeps): void {
  const types = planners.map(({ payloadType }) => payloadType);
  const twice = types.find((type, index) => types.indexOf(type) !== index);
  if (twice === undefined) return;
  throw new DroverError({
    code: 'CONTROL_SERVICE_INVALID',
    advice: 'fix-input',
    message: `planners: two plan ${twice}; allowed: one for each payload type.`,
  });
}
