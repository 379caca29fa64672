import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { durationMs, sizeBytes } from '@drover/job-text';
import { DroverError } from '@drover/lease-kit';
import { findJobFaults, type JobPath } from '../check-job.ts';
import {
  BatchSchema,
  InputSchema,
  JobSchema,
  OutputRuleSchema,
  RequirementsSchema,
  RetryPolicySchema,
  StepSchema,
  TimeoutsSchema,
  type Batch,
  type Input,
  type Job,
  type Timeouts,
} from '../gen/drover/job/v1/job_pb.ts';
import type { JobFileBatch, JobFileInput } from './job-file-schema.ts';
import type { ParsedJobFile } from './parse-job-file.ts';

/** What an input of a job file becomes in the submitted job. */
export type ResolvedSource = Input['source'];

/**
 * Resolves inputs that need the submitter's machine: uploads files into the content store, resolves a checkout to a
 * commit. Called for every input, in order; `place` is where it stands in the file.
 */
export type ResolveInput = (input: JobFileInput, place: string) => Promise<ResolvedSource>;

/** Turns a job file into the message to submit. Throws JOB_FILE_INVALID with file and line for faults of content. */
export async function jobFromFile(parsed: ParsedJobFile, resolve: ResolveInput): Promise<Job> {
  const batches: Batch[] = [];
  for (const [index, batch] of parsed.job.batches.entries()) {
    const inputs: Input[] = [];
    for (const [i, input] of (batch.inputs ?? []).entries()) {
      const source = await resolve(input, parsed.locate(['batches', index, 'inputs', i]));
      inputs.push(create(InputSchema, { path: input.path, source }));
    }
    batches.push(batchFromFile(batch, inputs));
  }
  const job = create(JobSchema, { batches });
  const faults = findJobFaults(job);
  if (faults.length === 0) return job;
  throw new DroverError({
    code: 'JOB_FILE_INVALID',
    advice: 'fix-input',
    message: faults
      .slice(0, 10)
      .map((fault) => `${parsed.locate(pathInFile(fault.path))}: ${fault.message}`)
      .join('\n'),
    details: { faults: faults.length },
  });
}

/** The message's `requirements` is the file's `requires`; the rest has the same names. */
function pathInFile(path: JobPath): JobPath {
  return path.map((part) => (part === 'requirements' ? 'requires' : part));
}

function batchFromFile(batch: JobFileBatch, inputs: Input[]): Batch {
  const { requires, retry, timeouts } = batch;
  return create(BatchSchema, {
    name: batch.name,
    inputs,
    steps: batch.steps.map((step) =>
      create(StepSchema, {
        name: step.name,
        exe: step.exe,
        arguments: step.args ?? [],
        environment: step.env ?? {},
        secretEnvironment: secretEnvironment(step.secrets),
        workingDirectory: step.cwd ?? '',
        needs: step.needs ?? [],
        always: step.always ?? false,
        ...(step.timeout === undefined ? {} : { timeout: durationFromMs(durationMs(step.timeout)) }),
        memoryMaxBytes: BigInt(step.memory === undefined ? 0 : sizeBytes(step.memory)),
      }),
    ),
    outputs: (batch.outputs ?? []).map((rule) =>
      create(
        OutputRuleSchema,
        typeof rule === 'string' ? { path: rule } : { path: rule.path, required: rule.required ?? false },
      ),
    ),
    ...(requires === undefined
      ? {}
      : {
          requirements: create(RequirementsSchema, {
            pool: requires.pool ?? '',
            condition: requires.condition ?? '',
            exclusive: requires.exclusive ?? false,
            resources: Object.fromEntries(
              Object.entries(requires.resources ?? {}).map(([key, value]) => [
                key,
                BigInt(typeof value === 'string' ? sizeBytes(value) : value),
              ]),
            ),
          }),
        }),
    ...(batch.timeout === undefined ? {} : { runLimit: durationFromMs(durationMs(batch.timeout)) }),
    ...(batch.grace === undefined ? {} : { cancelGrace: durationFromMs(durationMs(batch.grace)) }),
    ...(timeouts === undefined ? {} : { timeouts: timeoutsFromFile(timeouts) }),
    ...(retry === undefined
      ? {}
      : {
          retry: create(RetryPolicySchema, {
            attemptsMax: retry.attempts ?? 0,
            onStepFailure: retry.on_step_failure ?? false,
            ...(retry.backoff === undefined ? {} : { backoff: durationFromMs(durationMs(retry.backoff)) }),
          }),
        }),
  });
}

function timeoutsFromFile({ start, progress, total }: NonNullable<JobFileBatch['timeouts']>): Timeouts {
  return create(TimeoutsSchema, {
    ...(start === undefined ? {} : { start: durationFromMs(durationMs(start)) }),
    ...(progress === undefined ? {} : { progress: durationFromMs(durationMs(progress)) }),
    ...(total === undefined ? {} : { total: durationFromMs(durationMs(total)) }),
  });
}

function secretEnvironment(
  secrets: NonNullable<JobFileBatch['steps'][number]['secrets']> = {},
): Record<string, string> {
  return Array.isArray(secrets) ? Object.fromEntries(secrets.map((name) => [name, name])) : secrets;
}
