import { messageOf } from '@drover/lease-kit';
import { confinedPath, textFaults } from '@drover/job-text';
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { draftFromRequirements } from './draft-from-requirements.ts';
import { draftFromXml } from './draft-from-xml.ts';
import { draftFromYaml } from './draft-from-yaml.ts';
import { findInputs, type FindInputsOptions } from './find-inputs.ts';
import { checkJob } from './check-job.ts';
import type { HerdJob, JobInput, JobOutput } from './herd-job.ts';
import { herdJobBounds } from './herd-job.ts';
import { herdJobFileInvalid, type DraftInput, type DraftOutput, type DraftRequirements } from './job-draft.ts';

/**
 * Reads a job file, YAML or the original herd's XML (by what it begins with), and finds the files that it names. Throws
 * `HERD_JOB_FILE_INVALID`, advice `fix-input`, with file, line and column of each fault and what is allowed there.
 */
export async function readHerdJobFile(path: string, signal: AbortSignal): Promise<HerdJob> {
  const text = await textOf(path, path);
  const name = basename(path);
  const draft = /^\ufeff?\s*</.test(text) ? draftFromXml(text, name) : draftFromYaml(text, name);
  const options: FindInputsOptions = { folder: resolve(dirname(path)), rename: draft.rename, signal };
  const finder = new PartFinder(options);
  const { inputs, outputs } = await finder.find(draft);
  const tasks = [];
  for (const { place, requirements, ...task } of draft.tasks) {
    tasks.push({
      place,
      ...task,
      ...(await finder.find({ inputs: task.inputs, outputs: task.outputs, requirements })),
    });
  }
  const faults = finder.faults.length > 0 ? finder.faults : checkJob({ inputs, outputs, tasks }, name);
  if (faults.length > 0) throw textFaults(herdJobFileInvalid, faults);
  return {
    name: draft.name,
    inputs: plainInputs(inputs, tasks),
    outputs: outputs.map(plainOutput),
    tasks: tasks.map(({ place: _, ...task }) => ({
      ...task,
      inputs: plainInputs(task.inputs, [task]),
      outputs: task.outputs.map(plainOutput),
    })),
  };
}

/** An input, and where it was asked for. */
export type PlacedInput = JobInput & { readonly place: string };

/** An output, and where it was asked for. */
export type PlacedOutput = JobOutput & { readonly place: string };

/** Looks for the files of the job and of each task; each entry once, however many tasks name it. */
class PartFinder {
  readonly faults: string[] = [];
  readonly #options: FindInputsOptions;
  readonly #found = new Map<string, Promise<Awaited<ReturnType<typeof findInputs>>>>();
  readonly #requirements = new Map<string, ReturnType<typeof draftFromRequirements>>();

  constructor(options: FindInputsOptions) {
    this.#options = options;
  }

  async find(part: {
    readonly inputs: readonly DraftInput[];
    readonly outputs: readonly DraftOutput[];
    readonly requirements: readonly DraftRequirements[];
  }): Promise<{ inputs: PlacedInput[]; outputs: PlacedOutput[] }> {
    const drafts = [part];
    for (const one of part.requirements) {
      const { inputs, outputs } = await this.#read(one);
      drafts.push({ inputs, outputs, requirements: [] });
    }
    const inputs: PlacedInput[] = [];
    for (const draft of drafts.flatMap((one) => one.inputs)) {
      const found = await this.#find(draft);
      inputs.push(...found.inputs.map((input) => ({ ...input, place: draft.place })));
    }
    const outputs = drafts
      .flatMap((one) => one.outputs)
      .map(({ from, to, place }) => ({ path: from, target: to, place }));
    return { inputs, outputs };
  }

  #find(draft: DraftInput): ReturnType<typeof findInputs> {
    const { place: _, ...rest } = draft;
    const key = JSON.stringify(rest);
    let found = this.#found.get(key);
    if (found === undefined) {
      found = findInputs(draft, this.#options);
      this.#found.set(key, found);
      return found.then((result) => {
        this.faults.push(...result.faults);
        return result;
      });
    }
    return found;
  }

  async #read({ file, place }: DraftRequirements): Promise<ReturnType<typeof draftFromRequirements>> {
    const known = this.#requirements.get(file);
    if (known !== undefined) return known;
    const read = draftFromRequirements(await textOf(resolve(this.#options.folder, file), place), file);
    this.#requirements.set(file, read);
    return read;
  }
}

/**
 * Each file once, though two entries may name it. A program that a task runs is one, whatever its mode is here: the machine
 * may have none, e.g. Windows.
 */
function plainInputs(inputs: readonly PlacedInput[], tasks: readonly { readonly exe: string }[]): readonly JobInput[] {
  const programs = new Set(tasks.map(({ exe }) => normal(exe)));
  const files = new Map<string, JobInput>();
  for (const { place: _, ...input } of inputs) {
    const path = normal(input.path);
    const executable = input.executable || programs.has(path);
    files.set(`${input.architecture ?? ''} ${path}`, { ...input, path, executable });
  }
  return [...files.values()];
}

function plainOutput({ path, target }: PlacedOutput): JobOutput {
  return { path: normal(path), target: normal(target) };
}

function normal(path: string): string {
  const confined = confinedPath(path);
  return confined.ok ? confined.path : path;
}

async function textOf(path: string, place: string): Promise<string> {
  try {
    const { size } = await stat(path);
    const sizeMax = 4 * herdJobBounds.jobFileCharactersMax;
    if (size > sizeMax) throw new Error(`it has ${size} bytes; allowed are ${sizeMax}`);
    return await readFile(path, 'utf8');
  } catch (error) {
    const what = place === path ? '' : `${path} `;
    throw textFaults(herdJobFileInvalid, [`${place}: ${what}cannot be read: ${messageOf(error)}`]);
  }
}
