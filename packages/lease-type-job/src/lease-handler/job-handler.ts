import { create } from '@bufbuild/protobuf';
import type { ContentStore } from '@drover/content-store';
import {
  DroverError,
  isDroverError,
  messageOf,
  type HandlerResult,
  type LeaseContext,
  type LeaseHandler,
  type StopReason,
} from '@drover/lease-kit';
import type { ProcessRunner } from '@drover/process-runner';
import type { WorkspaceProvider } from '@drover/workspaces';
import { jobLeaseType } from '../job-lease-type.ts';
import {
  BatchResultSchema,
  type Batch,
  type BatchResult,
  type BatchResultSchema as BatchResultDescriptor,
  type BatchSchema,
} from '../gen/drover/job/v1/job_pb.ts';
import { makeAttemptFolders } from './attempt-folders.ts';
import { BatchProgress } from './batch-progress.ts';
import { gatherOutputs } from './gather-outputs.ts';
import { prepareInputs } from './prepare-inputs.ts';
import { runBatchSteps } from './run-batch-steps.ts';
import { stepProcessKey } from './run-step.ts';
import { stepSucceeded } from './step-result.ts';

/** What the job handler works with. */
export interface JobHandlerDeps {
  /** Its state folder must outlive the agent process: after a crash it finds there what to end. */
  readonly runner: ProcessRunner;
  readonly content: ContentStore;
  /** Providers of working copies; a batch with a `git` input needs one of kind `git`. */
  readonly workspaces: readonly WorkspaceProvider[];
  /** The folder of the machine's long-lived workspaces, which steps are told as DROVER_WORKSPACES. Absent: they are not. */
  readonly workspacesRoot?: string;
}

type JobResult = HandlerResult<typeof BatchResultDescriptor>;

/** Makes the handler of batches of steps. */
export function createJobHandler(deps: JobHandlerDeps): LeaseHandler<typeof BatchSchema, typeof BatchResultDescriptor> {
  return {
    type: jobLeaseType,
    run: (batch, context) => runBatch(batch, deps, context),
    resume: (batch, context) => endCrashedBatch(batch, deps, context),
  };
}

/** inputs → steps → outputs. What a stopped batch has so far is in its result too. */
async function runBatch(batch: Batch, deps: JobHandlerDeps, context: LeaseContext): Promise<JobResult> {
  const folders = await makeAttemptFolders(context.attemptDir);
  try {
    await prepareInputs(batch.inputs, folders.work, deps, context);
  } catch (error) {
    if (context.signal.aborted) return stopped(context, create(BatchResultSchema));
    const code = isDroverError(error) ? error.code : 'INPUT_FAILED';
    return { kind: 'failed', code, message: messageOf(error) };
  }
  let secrets: ReadonlyMap<string, string>;
  try {
    secrets = await secretsOf(batch, context);
  } catch (error) {
    if (context.signal.aborted) return stopped(context, create(BatchResultSchema));
    return { kind: 'failed', code: isDroverError(error) ? error.code : 'SECRETS_FAILED', message: messageOf(error) };
  }
  const progress = new BatchProgress(batch.steps.length, (percent, message) => context.progress(percent, message));
  const steps = await runBatchSteps(batch, { ...deps, context, folders, progress, secrets });
  const result: BatchResult = create(BatchResultSchema, { steps });
  if (context.signal.aborted) {
    // What there is is worth keeping, as far as the grace period allows.
    const kept = await gatherOutputs(
      batch.outputs,
      folders.work,
      deps.content,
      AbortSignal.timeout(context.cancelGraceMs),
    ).catch(() => undefined);
    result.outputs = kept?.outputs ?? [];
    return stopped(context, result);
  }
  const { outputs, missing, problems } = await gatherOutputs(batch.outputs, folders.work, deps.content, context.signal);
  result.outputs = outputs;
  result.missingOutputs = missing;
  result.problems = problems;
  result.succeeded = steps.every(stepSucceeded) && missing.length === 0 && problems.length === 0;
  return { kind: 'completed', output: result };
}

/** The secrets that the steps of a batch need; a batch that needs none asks nobody. Throws SECRET_MISSING. */
async function secretsOf(batch: Batch, context: LeaseContext): Promise<ReadonlyMap<string, string>> {
  const needed = new Set(batch.steps.flatMap((step) => Object.values(step.secretEnvironment)));
  if (needed.size === 0) return new Map();
  const secrets = await context.secrets(context.signal);
  const missing = [...needed].find((name) => !secrets.has(name));
  if (missing === undefined) return secrets;
  throw new DroverError({ code: 'SECRET_MISSING', advice: 'fix-input', message: `the lease has no secret ${missing}` });
}

const kindOfStop: Readonly<Record<StopReason['code'], 'cancelled' | 'timed-out' | 'failed'>> = {
  cancelled: 'cancelled',
  orphaned: 'cancelled',
  'timed-out': 'timed-out',
  'cut-off': 'failed',
  busy: 'failed',
  'shutting-down': 'failed',
  'going-down': 'failed',
};

function stopped(context: LeaseContext, output: BatchResult): JobResult {
  const reason = context.signal.reason as StopReason;
  const code = `BATCH_${reason.code.toUpperCase().replaceAll('-', '_')}`;
  return { kind: kindOfStop[reason.code], code, message: reason.message, output };
}

/**
 * After a crash of the agent: ends what still runs of the batch, carries the rest of its logs to the server, and says
 * that the attempt is lost. The work may have gone on for a while unseen, so its result would not be one to trust.
 */
async function endCrashedBatch(batch: Batch, deps: JobHandlerDeps, context: LeaseContext): Promise<JobResult> {
  let ended = 0;
  for (const step of batch.steps) {
    const key = stepProcessKey(context.leaseId, context.attempt, step.name);
    ended += await deps.runner.endLeftovers(key, context.signal, context.cancelGraceMs);
    await context.log(step.name).complete();
  }
  const message = `the agent was ended while the batch ran; ${ended} processes that it had left were ended`;
  return { kind: 'lost', code: 'AGENT_CRASHED', message };
}
