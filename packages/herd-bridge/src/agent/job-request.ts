import type { MessageInitShape } from '@bufbuild/protobuf';
import { digestToWire } from '@drover/content-store';
import type { PipeKind } from '@drover/herd-protocol';
import { type BeginJobSchema, type HerdTaskSchema } from '@drover/herd-protocol';
import type { WireTask } from '../wire/index.ts';
import { dirname, join } from 'node:path';
import { cachedPath } from './cached-path.ts';
import type { ReceivedJob } from './receive-job.ts';
import { splitArguments } from './split-arguments.ts';

/** A task that can be run, and what its messages are wrapped in. */
export interface TaskRequest {
  readonly pipe: string;
  readonly task: MessageInitShape<typeof HerdTaskSchema> & { readonly name: string };
}

/** How a runner of herd jobs is asked to begin this one. */
export function beginRequest(job: ReceivedJob, jobId: string): MessageInitShape<typeof BeginJobSchema> {
  // Genuine agents change the mode of each task's program.
  const programs = new Set(job.tasks.map(({ exe }) => cachedPath(exe)));
  const outputs = job.outputs.map(({ path }) => path).filter((path) => path !== undefined);
  return {
    jobId,
    name: job.name.slice(0, 256),
    inputs: [...job.inputs].map(([path, digest]) => ({
      path,
      digest: digestToWire(digest),
      executable: programs.has(path),
    })),
    outputs: [...new Set(outputs)],
  };
}

/** The tasks that can be run; one whose program has no place in the job's folder never starts, as at a genuine agent. */
export function taskRequests(job: ReceivedJob, folder: string, pipeKind: PipeKind): TaskRequest[] {
  const names = new Set<string>();
  return job.tasks.flatMap((task, index) => {
    const exe = cachedPath(task.exe);
    return exe === undefined ? [] : [taskRequest(task, exe, nameOf(task, index, names), folder, pipeKind)];
  });
}

function taskRequest(task: WireTask, exe: string, name: string, folder: string, pipeKind: PipeKind): TaskRequest {
  const workingFolder = dirname(exe);
  return {
    pipe: task.pipe,
    task: {
      name,
      // Absolute: a name without a folder would be looked for on the PATH.
      exe: join(folder, exe),
      arguments: splitArguments(task.arguments),
      ...(workingFolder === '.' ? {} : { workingFolder }),
      ...(isPipeName(task.pipe) ? { pipe: { name: task.pipe, kind: pipeKind } } : {}),
    },
  };
}

/** The task's own name if it may be used; names of genuine clients are those of the pipes, unique. */
function nameOf(task: WireTask, index: number, taken: Set<string>): string {
  let name = /^[ -~]{1,120}$/.test(task.name) ? task.name : `task #${index}`;
  if (taken.has(name)) name = `task #${index}`;
  while (taken.has(name)) name += '.';
  taken.add(name);
  return name;
}

/** Others would stand elsewhere than in the folder of pipes: such a task runs without. */
function isPipeName(name: string): boolean {
  return /^[!-.0-[\]-~][ -.0-[\]-~]{0,127}$/.test(name) && name !== '.' && name !== '..';
}
