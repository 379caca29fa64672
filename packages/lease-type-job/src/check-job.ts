import { durationMs } from '@bufbuild/protobuf/wkt';
import { confinedPath, pathText, type TextPath } from '@drover/job-text';
import { DroverError } from '@drover/lease-kit';
import { parseCondition } from '@drover/lease-matching';
import { jobBounds, namePattern } from './bounds.ts';
import type { Batch, Job, Step } from './gen/drover/job/v1/job_pb.ts';

/** The place of something in a job, e.g. `batches[0].steps[2].needs[0]`. */
export type JobPath = TextPath;

/** One thing that is wrong with a job. */
export interface JobFault {
  readonly path: JobPath;
  /** What is wrong and what is allowed. */
  readonly message: string;
}

/** Everything that is wrong with a job's content; empty for a job that may be submitted. */
export function findJobFaults(job: Job): readonly JobFault[] {
  const faults: JobFault[] = [];
  const fault = (path: JobPath, message: string): void => void faults.push({ path, message });
  count(job.batches.length, 1, jobBounds.batchesMax, ['batches'], 'batches', fault);
  unique(job.batches, ['batches'], 'batch', fault);
  job.batches.forEach((batch, index) => checkBatch(batch, ['batches', index], fault));
  return faults;
}

/** Throws JOB_INVALID, advice `fix-input`, with the first faults of a job that may not be submitted. */
export function checkJob(job: Job): void {
  const faults = findJobFaults(job);
  if (faults.length === 0) return;
  const shown = faults.slice(0, 5).map((fault) => `${pathText(fault.path)}: ${fault.message}`);
  const more = faults.length > shown.length ? ` (and ${faults.length - shown.length} more)` : '';
  throw new DroverError({
    code: 'JOB_INVALID',
    advice: 'fix-input',
    message: `the job is not valid: ${shown.join('; ')}${more}`,
    details: { faults: faults.length },
  });
}

type Report = (path: JobPath, message: string) => void;

function checkBatch(batch: Batch, path: JobPath, fault: Report): void {
  name(batch.name, [...path, 'name'], fault);
  count(batch.steps.length, 1, jobBounds.stepsPerBatchMax, [...path, 'steps'], 'steps', fault);
  count(batch.inputs.length, 0, jobBounds.inputsPerBatchMax, [...path, 'inputs'], 'inputs', fault);
  count(batch.outputs.length, 0, jobBounds.outputsPerBatchMax, [...path, 'outputs'], 'outputs', fault);
  unique(batch.steps, [...path, 'steps'], 'step', fault);
  batch.steps.forEach((step, i) => checkStep(step, [...path, 'steps', i], fault));
  checkNeeds(batch.steps, [...path, 'steps'], fault);
  batch.inputs.forEach((input, i) => {
    inside(input.path, [...path, 'inputs', i, 'path'], fault);
    if (input.source.case === undefined) fault([...path, 'inputs', i], 'needs one of file, tree or git');
  });
  batch.outputs.forEach((rule, i) => inside(rule.path, [...path, 'outputs', i, 'path'], fault));
  const condition = batch.requirements?.condition;
  if (condition) {
    try {
      parseCondition(condition);
    } catch (error) {
      fault([...path, 'requirements', 'condition'], error instanceof Error ? error.message : String(error));
    }
  }
  for (const what of ['start', 'progress', 'total'] as const) {
    const limit = batch.timeouts?.[what];
    const limitMs = limit === undefined ? 1 : durationMs(limit);
    if (limitMs >= 1 && limitMs <= jobBounds.runLimitMsMax) continue;
    fault(
      [...path, 'timeouts', what],
      `is ${limitMs} ms; allowed are 1 ms to ${jobBounds.runLimitMsMax / 86_400_000} days`,
    );
  }
  const attempts = batch.retry?.attemptsMax ?? 0;
  if (attempts > jobBounds.attemptsMax) {
    fault([...path, 'retry', 'attempts'], `is ${attempts}; allowed are 1 to ${jobBounds.attemptsMax}`);
  }
}

function checkStep(step: Step, path: JobPath, fault: Report): void {
  name(step.name, [...path, 'name'], fault);
  if (step.exe === '') fault([...path, 'exe'], 'is empty; allowed is a program name or a path');
  text(step.exe, [...path, 'exe'], fault);
  count(step.arguments.length, 0, jobBounds.argumentsPerStepMax, [...path, 'args'], 'arguments', fault);
  step.arguments.forEach((argument, i) => text(argument, [...path, 'args', i], fault));
  const variables = Object.entries(step.environment);
  count(variables.length, 0, jobBounds.environmentPerStepMax, [...path, 'env'], 'variables', fault);
  for (const [key, value] of variables) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(key)) {
      fault([...path, 'env', key], 'is no name of an environment variable; allowed are letters, digits and _');
    }
    text(value, [...path, 'env', key], fault);
  }
  const secret = Object.entries(step.secretEnvironment);
  count(secret.length, 0, jobBounds.environmentPerStepMax, [...path, 'secrets'], 'variables', fault);
  for (const [key, value] of secret) {
    for (const [what, word] of [
      ['environment variable', key],
      ['secret', value],
    ] as const) {
      if (!/^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(word)) {
        fault(
          [...path, 'secrets', key],
          `${JSON.stringify(word)} is no name of a ${what}; allowed are letters, digits and _`,
        );
      }
    }
    if (key in step.environment) fault([...path, 'secrets', key], 'is set in env as well; allowed is one of both');
  }
  if (step.workingDirectory !== '') inside(step.workingDirectory, [...path, 'cwd'], fault);
}

/** Finds needs that name no step, and circles. */
function checkNeeds(steps: readonly Step[], path: JobPath, fault: Report): void {
  const byName = new Map(steps.map((step) => [step.name, step]));
  steps.forEach((step, i) =>
    step.needs.forEach((need, j) => {
      if (byName.has(need)) return;
      const known = [...byName.keys()].filter((other) => other !== step.name).join(', ') || 'none';
      fault(
        [...path, i, 'needs', j],
        `names the step ${JSON.stringify(need)}, which is not in this batch; steps: ${known}`,
      );
    }),
  );
  const state = new Map<Step, 'open' | 'done'>();
  const visit = (step: Step, trail: readonly string[]): void => {
    if (state.get(step) === 'done') return;
    if (state.get(step) === 'open') {
      fault([...path, steps.indexOf(step), 'needs'], `go in a circle: ${[...trail, step.name].join(' → ')}`);
      return;
    }
    state.set(step, 'open');
    for (const need of step.needs) {
      const next = byName.get(need);
      if (next) visit(next, [...trail, step.name]);
    }
    state.set(step, 'done');
  };
  for (const step of steps) visit(step, []);
}

function name(value: string, path: JobPath, fault: Report): void {
  if (namePattern.test(value)) return;
  fault(
    path,
    `is ${JSON.stringify(value)}; allowed are up to 64 letters, digits, '.', '_' and '-', a letter or digit first`,
  );
}

function unique(named: readonly { readonly name: string }[], path: JobPath, what: string, fault: Report): void {
  const seen = new Set<string>();
  named.forEach((entry, i) => {
    if (seen.has(entry.name))
      fault([...path, i, 'name'], `is used twice: ${JSON.stringify(entry.name)} names another ${what}`);
    seen.add(entry.name);
  });
}

function count(value: number, min: number, max: number, path: JobPath, what: string, fault: Report): void {
  if (value < min || value > max) fault(path, `has ${value} ${what}; allowed are ${min} to ${max}`);
}

function text(value: string, path: JobPath, fault: Report): void {
  if (value.includes('\0')) fault(path, 'holds a NUL character, which no process can be given');
  if (value.length > jobBounds.textLengthMax) {
    fault(path, `has ${value.length} characters; allowed are ${jobBounds.textLengthMax}`);
  }
}

function inside(value: string, path: JobPath, fault: Report): void {
  const result = confinedPath(value);
  if (!result.ok) fault(path, result.message);
}
