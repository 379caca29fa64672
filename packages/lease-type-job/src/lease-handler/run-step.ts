import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { digestOfStream, digestToWire, type ContentStore } from '@drover/content-store';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { isDroverError, messageOf, type AttemptLog, type LeaseContext } from '@drover/lease-kit';
import type { ProcessResult, ProcessRunner } from '@drover/process-runner';
import { appendFile, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { StepEnd, type Step, type StepResult } from '../gen/drover/job/v1/job_pb.ts';
import type { AttemptFolders } from './attempt-folders.ts';
import { followProgress, type BatchProgress } from './batch-progress.ts';
import { stepEnvironment } from './step-environment.ts';
import { stepResultFromProcess, stepResultWithout } from './step-result.ts';

/** What a step needs to run. */
export interface RunStepDeps {
  readonly runner: ProcessRunner;
  readonly content: ContentStore;
  readonly context: LeaseContext;
  readonly folders: AttemptFolders;
  readonly progress: BatchProgress;
  /** The secrets of the lease by name. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly workspacesRoot?: string;
}

/** The key of a step's process: the same after a restart of the agent, so that what a crash left can be ended. */
export function stepProcessKey(leaseId: string, attempt: number, step: string): string {
  return `job/${leaseId}/${attempt}/${step}`;
}

/** Runs one step to its end. Its log is kept whatever that end is. Throws only for defects. */
export async function runStep(step: Step, deps: RunStepDeps): Promise<StepResult> {
  const { context } = deps;
  const log = context.log(step.name);
  try {
    const ended = await runProcess(step, deps, log.path);
    const result =
      'kind' in ended
        ? stepResultFromProcess(step.name, ended)
        : stepResultWithout(step.name, StepEnd.NOT_STARTED, ended.code, ended.message);
    // A step that never wrote has no file; its reason is then the whole log.
    if (result.end === StepEnd.NOT_STARTED) await appendFile(log.path, `${result.reason?.message ?? ''}\n`);
    return await withLogBlob(result, log, deps);
  } finally {
    await log.complete();
  }
}

interface NotStarted {
  readonly code: string;
  readonly message: string;
}

async function runProcess(step: Step, deps: RunStepDeps, spoolPath: string): Promise<ProcessResult | NotStarted> {
  const { context, folders, runner } = deps;
  const cwd = await workingDirectory(step, folders.work);
  if (typeof cwd !== 'string') return cwd;
  const progressPath = join(folders.progress, step.name);
  const env = stepEnvironment(
    step,
    {
      leaseId: context.leaseId,
      attempt: context.attempt,
      agentId: context.agentId,
      homeDir: folders.home,
      tempDir: folders.temp,
      progressPath,
      secrets: deps.secrets,
      ...(deps.workspacesRoot === undefined ? {} : { workspacesRoot: deps.workspacesRoot }),
    },
    process.env,
  );
  try {
    const running = await runner.start(
      {
        key: stepProcessKey(context.leaseId, context.attempt, step.name),
        exe: step.exe,
        args: step.arguments,
        env,
        cwd,
        spoolPath,
        cancelGraceMs: context.cancelGraceMs,
        ...(step.timeout === undefined ? {} : { timeoutMs: durationMs(step.timeout) }),
        ...(step.memoryMaxBytes === 0n ? {} : { memoryBytesMax: Number(step.memoryMaxBytes) }),
      },
      context.signal,
    );
    deps.progress.update(step.name, 0, 'running');
    await followProgress(
      progressPath,
      running.result,
      (percent, message) => deps.progress.update(step.name, percent, message),
      // The end of the process ends it; a stop of the batch ends the process.
      new AbortController().signal,
    ).catch((error: unknown) => context.logger.warn({ err: error, step: step.name }, 'progress cannot be read'));
    return await running.result;
  } catch (error) {
    if (context.signal.aborted) return { code: 'STEP_CANCELLED', message: 'stopped before it started' };
    if (isDroverError(error)) return { code: error.code, message: error.message };
    return { code: 'STEP_START_FAILED', message: messageOf(error) };
  }
}

/** The step's working directory, which must be in the batch's, also when symbolic links are followed. */
async function workingDirectory(step: Step, work: string): Promise<string | NotStarted> {
  const wanted = join(work, step.workingDirectory);
  try {
    const top = await realpath(work);
    const real = await realpath(wanted);
    if (real === top || real.startsWith(top + sep)) return real;
    return {
      code: 'SYMLINK_ESCAPES',
      message: `the working directory ${step.workingDirectory} leads out of the batch`,
    };
  } catch {
    return { code: 'PROCESS_CWD_INVALID', message: `the working directory ${step.workingDirectory} does not exist` };
  }
}

/** Keeps the whole log as a blob too; the log that was carried while it was written may have been cut short. */
async function withLogBlob(result: StepResult, log: AttemptLog, deps: RunStepDeps): Promise<StepResult> {
  try {
    const digest = await digestOfStream(log.content());
    await deps.content.write(digest, () => log.content());
    const blob = create(BlobDigestSchema, digestToWire(digest));
    return { ...result, log: blob, logSizeBytes: blob.sizeBytes };
  } catch (error) {
    deps.context.logger.warn({ err: error, step: result.name }, 'the log is not kept as a blob');
    return result;
  }
}
