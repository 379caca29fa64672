import { PipeKind } from '@drover/herd-protocol';
import { confinedPath, durationMs, parseYaml, textFaults, type TextPath } from '@drover/job-text';
import { argumentsFromText } from './arguments-from-text.ts';
import { expandTask, expandedCount, type ExpandedTask } from './expand-task.ts';
import { herdJobBounds } from './herd-job.ts';
import { herdJobFileSchema, type HerdJobFile } from './herd-job-file-schema.ts';
import { herdJobFileInvalid, type DraftInput, type DraftOutput, type DraftTask, type JobDraft } from './job-draft.ts';

const kinds = { default: PipeKind.UNSPECIFIED, fifo: PipeKind.FIFO, 'unix-socket': PipeKind.UNIX_SOCKET } as const;

/** Reads a job in YAML. Throws `HERD_JOB_FILE_INVALID` with file, line and column of each fault. */
export function draftFromYaml(text: string, file: string): JobDraft {
  const { content, locate } = parseYaml(text, {
    file,
    schema: herdJobFileSchema,
    code: herdJobFileInvalid,
    charactersMax: herdJobBounds.jobFileCharactersMax,
  });
  const faults: string[] = [];
  const rename = new Map<string, string>();
  for (const [from, to] of Object.entries(content.rename ?? {})) {
    const [here, there] = [confinedPath(from), confinedPath(to)];
    if (here.ok && there.ok) rename.set(here.path, there.path);
    for (const one of [here, there]) if (!one.ok) faults.push(`${locate(['rename', from])}: ${one.message}`);
  }
  const requirements = (given: HerdJobFile['requirements'], path: TextPath): JobDraft['requirements'] =>
    [given ?? []].flat().map((name) => ({ file: name, place: locate(path) }));

  const total = content.tasks.reduce((count, task) => count + expandedCount(task), 0);
  if (total > herdJobBounds.tasksMax) {
    faults.push(`${locate(['tasks'])}: these are ${total} tasks; allowed are ${herdJobBounds.tasksMax}`);
    throw textFaults(herdJobFileInvalid, faults);
  }
  const tasks = content.tasks.flatMap((task, i) => {
    const path = ['tasks', i] as const;
    return Array.from(expandTask(task), (one): DraftTask => {
      const { arguments: args, fault } = argumentsOf(one);
      if (fault !== undefined) faults.push(`${locate([...path, 'args'])}: ${fault}`);
      const pipe = one.pipe ?? 'default';
      return {
        name: one.name,
        exe: one.exe,
        arguments: args,
        environment: one.env ?? {},
        workingFolder: one.cwd ?? '',
        ...(pipe === 'none' ? {} : { pipe: { name: one.name, kind: kinds[pipe] } }),
        ...(one.timeout === undefined ? {} : { timeoutMs: durationMs(one.timeout) }),
        retries: one.retries ?? 0,
        inputs: inputsFrom(one.inputs, [...path, 'inputs'], locate),
        outputs: outputsFrom(one.outputs, [...path, 'outputs'], rename, locate),
        requirements: requirements(one.requirements, [...path, 'requirements']),
        place: locate(path),
      };
    });
  });
  if (faults.length > 0) throw textFaults(herdJobFileInvalid, faults);
  return {
    name: content.name,
    inputs: inputsFrom(content.inputs, ['inputs'], locate),
    outputs: outputsFrom(content.outputs, ['outputs'], rename, locate),
    requirements: requirements(content.requirements, ['requirements']),
    tasks,
    rename,
  };
}

function argumentsOf({ args = [] }: ExpandedTask): ReturnType<typeof argumentsFromText> {
  return typeof args === 'string' ? argumentsFromText(args) : { arguments: args };
}

function inputsFrom(
  inputs: HerdJobFile['inputs'],
  path: TextPath,
  locate: (path: TextPath) => string,
): readonly DraftInput[] {
  return (inputs ?? []).map((input, i) => {
    const place = locate([...path, i]);
    if (typeof input === 'string') return { from: input, place };
    const { platform, ...rest } = input;
    return { ...rest, architecture: platform, place };
  });
}

/** An output that is one name is that name here; the job's folder may know it by another. */
function outputsFrom(
  outputs: HerdJobFile['outputs'],
  path: TextPath,
  rename: ReadonlyMap<string, string>,
  locate: (path: TextPath) => string,
): readonly DraftOutput[] {
  return (outputs ?? []).map((output, i) => {
    const place = locate([...path, i]);
    if (typeof output !== 'string') return { ...output, place };
    const here = confinedPath(output);
    return { from: (here.ok ? rename.get(here.path) : undefined) ?? output, to: output, place };
  });
}
