import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { digestFromWire, type Digest } from '@drover/content-store';
import { AddTasksSchema, BeginJobSchema, PipeKind, type HerdFile, type HerdTask } from '@drover/herd-protocol';
import { confinedPath } from '@drover/job-text';
import { messageOf } from '@drover/lease-kit';
import { pipeNameFault } from '@drover/progress-pipes';
import { herdError } from './herd-errors.ts';
import type { HerdLimits } from './herd-limits.ts';

/** A file of a job, checked. */
export interface JobFile {
  /** In the job's folder, with `/` between names. */
  readonly path: string;
  readonly digest: Digest;
  readonly executable: boolean;
}

/** A job, checked. */
export interface CheckedJob {
  readonly jobId: string;
  readonly name: string;
  readonly inputs: readonly JobFile[];
  readonly outputs: readonly string[];
}

/** A task, checked. */
export interface CheckedTask {
  readonly name: string;
  /** In the job's folder (`file`), or a name on the PATH or an absolute path (`program`). */
  readonly exe: { readonly kind: 'file' | 'program'; readonly path: string };
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** In the job's folder; `.` for the folder itself. */
  readonly workingFolder: string;
  readonly pipe: { readonly name: string; readonly kind: 'fifo' | 'socket' } | undefined;
  /** Absent: none. */
  readonly timeoutMs: number | undefined;
  readonly inputs: readonly JobFile[];
  readonly outputs: readonly string[];
}

type Refuse = (where: string, what: string) => never;

/** Checks what a client begins. Throws `HERD_JOB_INVALID`. */
export function checkJob(
  init: MessageInitShape<typeof BeginJobSchema>,
  limits: HerdLimits,
  plainNames: boolean,
): CheckedJob {
  const refuse: Refuse = (where, what) => {
    throw herdError('HERD_JOB_INVALID', 'fix-input', `The job's ${where} ${what}`, { details: { where } });
  };
  const job = create(BeginJobSchema, init);
  if (!/^[A-Za-z0-9-]{1,64}$/.test(job.jobId)) {
    refuse(
      'job_id',
      `${JSON.stringify(job.jobId.slice(0, 100))} is no UUID; allowed are 1 to 64 letters, digits and "-"`,
    );
  }
  if (job.name.length > 256) refuse('name', `has ${job.name.length} characters; allowed are at most 256`);
  atMost('inputs', job.inputs.length, limits.filesPerJobMax, 'files', refuse);
  atMost('outputs', job.outputs.length, limits.filesPerJobMax, 'paths', refuse);
  return {
    jobId: job.jobId,
    name: job.name,
    inputs: filesFrom('inputs', job.inputs, plainNames, refuse),
    outputs: outputsFrom('outputs', job.outputs, plainNames, refuse),
  };
}

/** What tasks are checked by. */
export interface TaskRules {
  readonly limits: HerdLimits;
  /** A backslash or a drive letter in a path is a plain character. */
  readonly plainNames: boolean;
  /** Of the job's inputs. */
  readonly inputPaths: ReadonlySet<string>;
}

/** Checks tasks of a job. Throws `HERD_TASK_INVALID` for the first that is wrong. */
export function checkTasks(init: MessageInitShape<typeof AddTasksSchema>, rules: TaskRules): CheckedTask[] {
  const names = new Set<string>();
  return create(AddTasksSchema, init).tasks.map((task) => {
    const refuse: Refuse = (where, what) => {
      const message = `${where} of the task ${JSON.stringify(task.name.slice(0, 128))} ${what}`;
      throw herdError('HERD_TASK_INVALID', 'fix-input', message, { details: { task: task.name.slice(0, 128), where } });
    };
    if (task.name.length < 1 || task.name.length > 128) {
      refuse('name', `has ${task.name.length} characters; allowed are 1 to 128`);
    }
    if (/[\u0000-\u001f\u007f]/.test(task.name)) refuse('name', 'holds control characters');
    if (names.has(task.name)) refuse('name', 'is there twice; each task has a name of its own');
    names.add(task.name);
    return checkTask(task, rules, refuse);
  });
}

function checkTask(task: HerdTask, { limits, plainNames, inputPaths }: TaskRules, refuse: Refuse): CheckedTask {
  const variables = Object.entries(task.environment);
  atMost('arguments', task.arguments.length, limits.argumentsPerTaskMax, 'arguments', refuse);
  atMost('environment', variables.length, limits.argumentsPerTaskMax, 'variables', refuse);
  atMost('inputs', task.inputs.length, limits.filesPerTaskMax, 'files', refuse);
  atMost('outputs', task.outputs.length, limits.filesPerTaskMax, 'paths', refuse);
  const texts = [task.exe, ...task.arguments, ...variables.flat()];
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > limits.taskBytesMax) {
    refuse('exe, arguments and environment', `have ${bytes} bytes; allowed are at most ${limits.taskBytesMax}`);
  }
  if (texts.some((text) => text.includes('\0'))) refuse('exe, arguments or environment', 'hold a NUL character');
  for (const [name] of variables) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      refuse('environment', `names ${JSON.stringify(name.slice(0, 100))}; allowed are letters, digits and "_"`);
    }
  }
  return {
    name: task.name,
    exe: exeFrom(task, inputPaths, refuse),
    args: task.arguments,
    env: task.environment,
    workingFolder: task.workingFolder === '' ? '.' : pathFrom('working_folder', task.workingFolder, plainNames, refuse),
    pipe: pipeFrom(task, refuse),
    timeoutMs: timeoutFrom(task, refuse),
    inputs: filesFrom('inputs', task.inputs, plainNames, refuse),
    outputs: outputsFrom('outputs', task.outputs, plainNames, refuse),
  };
}

function exeFrom({ exe, inputs }: HerdTask, inputPaths: ReadonlySet<string>, refuse: Refuse): CheckedTask['exe'] {
  if (exe === '')
    refuse('exe', 'is empty; allowed are a path in the job’s folder, an absolute path, or a name on the PATH');
  if (exe.startsWith('/') || /^[A-Za-z]:[\\/]/.test(exe)) return { kind: 'program', path: exe };
  // Who sends a program means that one rather than another of its name.
  if (inputPaths.has(exe) || inputs.some(({ path }) => path === exe)) return { kind: 'file', path: exe };
  if (!exe.includes('/')) return { kind: 'program', path: exe };
  return { kind: 'file', path: pathFrom('exe', exe, false, refuse) };
}

function pipeFrom({ pipe }: HerdTask, refuse: Refuse): CheckedTask['pipe'] {
  if (pipe === undefined) return undefined;
  const fault = pipeNameFault(pipe.name);
  if (fault !== undefined) refuse('pipe', fault);
  return { name: pipe.name, kind: pipe.kind === PipeKind.UNIX_SOCKET ? 'socket' : 'fifo' };
}

function timeoutFrom({ timeout }: HerdTask, refuse: Refuse): number | undefined {
  if (timeout === undefined) return undefined;
  const ms = durationMs(timeout);
  if (!(ms > 0)) refuse('timeout', `is ${ms} ms; allowed are times above 0, or none`);
  return ms;
}

function filesFrom(where: string, files: readonly HerdFile[], plainNames: boolean, refuse: Refuse): JobFile[] {
  const paths = new Set<string>();
  return files.map(({ path, digest, executable }, index) => {
    const at = `${where}[${index}]`;
    const confined = fileFrom(at, path, plainNames, refuse);
    if (paths.has(confined)) refuse(at, `is ${JSON.stringify(path)}, as another one is`);
    paths.add(confined);
    if (digest === undefined) return refuse(at, 'has no digest');
    try {
      return { path: confined, digest: digestFromWire(digest), executable };
    } catch (error) {
      return refuse(at, messageOf(error));
    }
  });
}

function outputsFrom(where: string, paths: readonly string[], plainNames: boolean, refuse: Refuse): string[] {
  const seen = new Set<string>();
  return paths.map((path, index) => {
    // Answered under the name that it was asked by.
    if (seen.has(path)) refuse(`${where}[${index}]`, `is ${JSON.stringify(path)}, as another one is`);
    seen.add(path);
    fileFrom(`${where}[${index}]`, path, plainNames, refuse);
    return path;
  });
}

function fileFrom(where: string, path: string, plainNames: boolean, refuse: Refuse): string {
  const confined = pathFrom(where, path, plainNames, refuse);
  if (confined === '.' || path.endsWith('/'))
    refuse(where, `${JSON.stringify(path)} names a folder; allowed are files`);
  return confined;
}

function pathFrom(where: string, path: string, plainNames: boolean, refuse: Refuse): string {
  if (Buffer.byteLength(path) > 4_096) refuse(where, 'is longer than 4,096 bytes');
  const confined = confinedPath(path, plainNames);
  return confined.ok ? confined.path : refuse(where, confined.message);
}

function atMost(where: string, count: number, max: number, what: string, refuse: Refuse): void {
  if (count > max) refuse(where, `has ${count} ${what}; allowed are at most ${max}`);
}
