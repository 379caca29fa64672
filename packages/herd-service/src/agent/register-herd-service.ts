import type { ConnectRouter, HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { HerdService, type HerdJobSession, type RunJobRequest, type RunJobResponse } from '@drover/herd-protocol';
import type { Principal } from '@drover/lease-kit';
import type { HerdJobHost } from './create-herd-job-runner.ts';
import { herdError } from './herd-errors.ts';

/** Who answers, as {@link registerHerdService} tells it. */
export interface HerdAgentName {
  readonly agentId: string;
  /** For people. */
  readonly name: string;
  /** Of Drover. */
  readonly version: string;
}

/** What {@link registerHerdService} needs. */
export interface HerdServiceDeps {
  readonly runner: Pick<HerdJobHost, 'standing' | 'begin' | 'find' | 'jobs'>;
  readonly agent: HerdAgentName;
  /** On whose behalf a call is made. It is asked first in every call. */
  readonly principalOf: (context: HandlerContext) => Principal;
  /** The most job streams of one principal at once. Default 64. */
  readonly streamsPerPrincipalMax?: number | undefined;
}

const listedMax = 256;
/** A message of tasks or inputs with their names; files travel elsewhere. */
const messageBytesMax = 4 * 1024 * 1024;

/** Adds HerdService to a router: the wire to a job runner. It owns nothing. */
export function registerHerdService(router: ConnectRouter, deps: HerdServiceDeps): void {
  router.service(HerdService, herdService(deps), { readMaxBytes: messageBytesMax });
}

function herdService({
  runner,
  agent,
  principalOf,
  streamsPerPrincipalMax = 64,
}: HerdServiceDeps): ServiceImpl<typeof HerdService> {
  const streams = new Map<string, number>();
  return {
    getAgent(_, context) {
      principalOf(context);
      const { slotsTotal, slotsFree } = runner.standing();
      return { ...agent, slotsTotal, slotsFree };
    },

    async *runJob(requests, context) {
      const principal = principalOf(context);
      const key = `${principal.kind}:${principal.id}`;
      const open = streams.get(key) ?? 0;
      if (open >= streamsPerPrincipalMax) {
        const message = `${open} job streams are open, which is the most that a client may have`;
        throw herdError('HERD_STREAMS_TOO_MANY', 'exhausted', message);
      }
      streams.set(key, open + 1);
      try {
        yield* runJob(requests, { principal, signal: context.signal }, runner);
      } finally {
        const left = streams.get(key)! - 1;
        if (left === 0) streams.delete(key);
        else streams.set(key, left);
      }
    },

    listJobs(_, context) {
      const jobs = runner.jobs(principalOf(context)).slice(0, listedMax);
      return {
        jobs: jobs.map(({ jobId, name, principal, tasks }) => ({
          jobId,
          name,
          client: principal.id,
          tasksWaiting: tasks.waiting,
          tasksRunning: tasks.running,
          tasksEnded: tasks.ended,
        })),
      };
    },

    cancelJob({ jobId, tasks }, context) {
      const job = runner.find(jobId, { principal: principalOf(context), signal: context.signal });
      job.cancel(tasks.length === 0 ? undefined : tasks);
      return {};
    },
  };
}

async function* runJob(
  requests: AsyncIterable<RunJobRequest>,
  call: { readonly principal: Principal; readonly signal: AbortSignal },
  runner: Pick<HerdJobHost, 'begin' | 'find'>,
): AsyncGenerator<RunJobResponse> {
  const incoming = requests[Symbol.asyncIterator]();
  const first = await incoming.next();
  const opening = first.done === true ? undefined : first.value.message;
  let session: HerdJobSession;
  let after = 0n;
  if (opening?.case === 'begin') session = await runner.begin(opening.value, call);
  else if (opening?.case === 'resume') {
    session = runner.find(opening.value.jobId, call);
    after = opening.value.afterSequence;
  } else throw herdError('HERD_REQUEST_INVALID', 'fix-input', 'The first message must be begin or resume');

  // A request that is wrong ends the stream with its error; the job goes on for its grace.
  const failed = new AbortController();
  const reading = follow(incoming, session).catch((error: unknown) => failed.abort(error));
  try {
    yield* session.responses(after, AbortSignal.any([call.signal, failed.signal]));
  } finally {
    void incoming.return?.();
    void reading;
  }
}

async function follow(incoming: AsyncIterator<RunJobRequest>, session: HerdJobSession): Promise<void> {
  for (;;) {
    const next = await incoming.next();
    if (next.done === true) return;
    const { message } = next.value;
    switch (message.case) {
      case 'add':
        session.add(message.value);
        break;
      case 'cancel':
        session.cancel(message.value.tasks);
        break;
      case 'finish':
        session.finish();
        break;
      case 'acknowledge':
        session.acknowledge(message.value.sequence);
        break;
      default:
        throw herdError(
          'HERD_REQUEST_INVALID',
          'fix-input',
          'After the first message, begin and resume are not allowed',
        );
    }
  }
}
