import { create } from '@bufbuild/protobuf';
import { HerdTaskSchema, PipeKind, type HerdTask } from '@drover/herd-protocol';
import { DroverError, messageOf } from '@drover/lease-kit';
import { posix } from 'node:path';
import { internalTag, taskTagBytes } from '../wire/index.ts';
import { argumentText } from './argument-text.ts';
import type { WireNames } from './wire-names.ts';

/** A task as it is sent. */
export interface LegacyTask {
  readonly task: HerdTask;
  /** Name of its pipe, which the agent reports its items under; empty: none. */
  readonly pipe: string;
  /** Name on the wire of its program. */
  readonly exe: string;
  /** The task's tag. */
  readonly tag: Uint8Array;
  /** Names on the wire of its own outputs, by their paths. */
  readonly outputs: ReadonlyMap<string, string>;
}

/**
 * Turns a task into what the original protocol can say of it. Throws `HERD_TASK_INVALID` for the rest: an environment, a time
 * limit, a working folder that is not the program's own, a program that no input brings.
 */
export function legacyTask(task: HerdTask, inputs: ReadonlySet<string>, names: WireNames): LegacyTask {
  const refuse = (why: string): DroverError =>
    new DroverError({
      code: 'HERD_TASK_INVALID',
      advice: 'fix-input',
      message: `task ${JSON.stringify(task.name)} cannot run on an agent of the original Herd protocol: ${why}`,
    });
  if (Object.keys(task.environment).length > 0) throw refuse('it has no environment variables');
  if (task.timeout !== undefined) throw refuse('it knows no time limits');
  const exePath = posix.normalize(task.exe);
  if (!inputs.has(exePath) && !task.inputs.some(({ path }) => path === exePath)) {
    throw refuse(`it runs only programs that are sent with the job, and ${JSON.stringify(task.exe)} is none of them`);
  }
  // The agent puts the name into the arguments of chmod as it is.
  if (!names.isWindows && /\s/.test(exePath))
    throw refuse('a program with a space in its name is not made executable there');
  const ownFolder = posix.dirname(exePath);
  if (posix.normalize(task.workingFolder || '.') !== ownFolder) {
    const meant = task.workingFolder === '' ? "the job's" : JSON.stringify(task.workingFolder);
    throw refuse(
      `it runs a program in the program's folder, ${JSON.stringify(ownFolder)}, and the working folder is ${meant}`,
    );
  }
  const pipe = isPipeUsed(task) ? task.pipe!.name : '';
  if (isPipeUsed(task) && !pipeName.test(pipe)) {
    throw refuse(
      `pipe ${JSON.stringify(pipe)} is no name for it; allowed are ASCII letters, digits and . _ - +, at most 128`,
    );
  }
  if (pipe === internalTag)
    throw refuse(`a pipe of the name ${internalTag} would be taken for the agent's own messages`);
  const pipePath = names.isWindows ? `\\\\.\\pipe\\${pipe}` : `/tmp/${pipe}`;
  try {
    const values = task.arguments.map((value) => (pipe === '' ? value : value.replaceAll('{pipe}', pipePath)));
    const exe = names.of(exePath);
    return {
      task,
      pipe,
      exe,
      tag: taskTagBytes({ name: task.name, exe, arguments: argumentText(values, names.isWindows), pipe }),
      outputs: new Map(task.outputs.map((path) => [path, names.of(path)])),
    };
  } catch (error) {
    throw refuse(messageOf(error));
  }
}

/**
 * An agent waits for ever for a program that does not open its pipe. One that nobody asked for is left out, unless the program
 * is told of it: its environment, where it could find it else, is not sent.
 */
function isPipeUsed({ pipe, arguments: values }: HerdTask): boolean {
  if (pipe === undefined) return false;
  return pipe.kind !== PipeKind.UNSPECIFIED || values.some((value) => value.includes('{pipe}'));
}

/** A task that names a program and runs nothing, as long as the program is empty. */
export function probeTask(exe: string): LegacyTask {
  const name = 'probe';
  const tag = taskTagBytes({ name, exe, arguments: '', pipe: '' });
  return { task: create(HerdTaskSchema, { name }), pipe: '', exe, tag, outputs: new Map() };
}

/** It becomes a tag, and part of a path. */
const pipeName = /^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,127}$/;
