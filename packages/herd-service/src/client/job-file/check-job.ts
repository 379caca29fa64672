import { confinedPath } from '@drover/job-text';
import { pipeNameFault } from '@drover/progress-pipes';
import type { JobTask } from './herd-job.ts';
import { herdJobBounds as bounds } from './herd-job.ts';
import type { PlacedInput, PlacedOutput } from './read-herd-job-file.ts';

/** A job whose files were found, and where its parts stand. */
export interface PlacedJob {
  readonly inputs: readonly PlacedInput[];
  readonly outputs: readonly PlacedOutput[];
  readonly tasks: readonly PlacedTask[];
}

type PlacedTask = Omit<JobTask, 'inputs' | 'outputs'> & {
  readonly inputs: readonly PlacedInput[];
  readonly outputs: readonly PlacedOutput[];
  readonly place: string;
};

/** What is wrong with a job as a whole, each with its place: names twice, paths that leave folders, too many. */
export function checkJob(job: PlacedJob, file: string): readonly string[] {
  const faults: string[] = [];
  const names = new Map<string, string>();
  for (const task of job.tasks) {
    const before = names.get(task.name);
    if (before === undefined) names.set(task.name, task.place);
    else {
      const why = before === task.place ? 'put {n}, or a key of the matrix, into the name' : `also at ${before}`;
      faults.push(`${task.place}: ${JSON.stringify(task.name)} is the name of two tasks: ${why}`);
    }
    faults.push(...taskFaults(task));
    if (faults.length > 100) return faults;
  }
  faults.push(...inputFaults(job.inputs, bounds.inputsMax, file));
  faults.push(...outputFaults(job.outputs, file));
  const all = job.outputs.length + job.tasks.reduce((count, task) => count + task.outputs.length, 0);
  if (all > bounds.outputsMax) faults.push(`${file}: these are ${all} outputs; allowed are ${bounds.outputsMax}`);
  faults.push(...sameTargets([job.outputs, ...job.tasks.map((task) => task.outputs)].flat()));
  return faults;
}

function taskFaults(task: PlacedTask): readonly string[] {
  const { place, name } = task;
  const faults: string[] = [];
  const tooLong = (what: string, count: number, max: number): void => {
    if (count > max)
      faults.push(`${place}: ${what} of ${JSON.stringify(name.slice(0, 60))} has ${count}; allowed are ${max}`);
  };
  tooLong('the name', name.length, bounds.taskNameCharactersMax);
  const pipeFault = task.pipe === undefined ? undefined : pipeNameFault(task.pipe.name);
  if (pipeFault !== undefined) faults.push(`${place}: the pipe ${pipeFault}`);
  tooLong('the list of arguments', task.arguments.length, bounds.argumentsPerTaskMax);
  const characters = [...task.arguments, ...Object.entries(task.environment).flat()].join('').length;
  tooLong('the text of arguments and environment', characters, bounds.taskCharactersMax);
  if (!task.exe.startsWith('/') && task.exe.includes('/')) {
    const exe = confinedPath(task.exe);
    if (!exe.ok) faults.push(`${place}: exe ${exe.message}`);
  }
  if (task.workingFolder !== '') {
    const folder = confinedPath(task.workingFolder);
    if (!folder.ok) faults.push(`${place}: cwd ${folder.message}`);
  }
  for (const text of [task.exe, ...task.arguments, ...Object.values(task.environment)]) {
    if (text.includes('\0')) faults.push(`${place}: a text holds a NUL character`);
  }
  faults.push(...inputFaults(task.inputs, bounds.inputsPerTaskMax, place), ...outputFaults(task.outputs, place));
  return faults;
}

/** Two files at one path are a fault, unless they are for different platforms. */
function inputFaults(inputs: readonly PlacedInput[], max: number, place: string): readonly string[] {
  if (inputs.length > max) return [`${place}: these are ${inputs.length} files as inputs; allowed are ${max}`];
  const faults: string[] = [];
  const sources = new Map<string, PlacedInput>();
  for (const input of inputs) {
    if (input.path.length > bounds.pathCharactersMax) {
      faults.push(
        `${input.place}: a path has ${input.path.length} characters; allowed are ${bounds.pathCharactersMax}`,
      );
    }
    // What a rename says was not looked at before.
    const path = confinedPath(input.path);
    if (!path.ok) faults.push(`${input.place}: ${path.message}`);
    const key = `${input.architecture ?? ''} ${input.path}`;
    const before = sources.get(key);
    if (before !== undefined && before.source !== input.source) {
      const text = `${JSON.stringify(input.path)} would be both ${before.source} and ${input.source}`;
      faults.push(`${input.place}: ${text}; name one of them otherwise with from and to`);
    }
    sources.set(key, input);
  }
  return faults;
}

function outputFaults(outputs: readonly PlacedOutput[], place: string): readonly string[] {
  const max = bounds.outputsPerTaskMax;
  if (outputs.length > bounds.outputsMax || (place.includes(':') && outputs.length > max)) {
    return [`${place}: these are ${outputs.length} outputs; allowed are ${max} of a task`];
  }
  return outputs.flatMap((output) => {
    const faults: string[] = [];
    for (const text of [output.path, output.target]) {
      const path = confinedPath(text);
      if (!path.ok) faults.push(`${output.place}: ${path.message}`);
      else if (path.path === '.') faults.push(`${output.place}: an output is a file, not the folder itself`);
      else if (/[*?]/.test(text)) {
        faults.push(`${output.place}: ${JSON.stringify(text)} is a pattern; an output is the path of one file`);
      }
    }
    return faults;
  });
}

/** Outputs of two tasks that go to one file would overwrite each other. */
function sameTargets(outputs: readonly PlacedOutput[]): readonly string[] {
  const targets = new Map<string, string>();
  return outputs.flatMap(({ target, place }) => {
    const before = targets.get(target);
    targets.set(target, place);
    if (before === undefined) return [];
    const why = before === place ? 'put {n}, or a key of the matrix, into it' : `also at ${before}`;
    return [`${place}: two outputs go to ${JSON.stringify(target)}: ${why}`];
  });
}
