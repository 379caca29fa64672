import { messageOf } from '@drover/lease-kit';
import { confinedPath } from '@drover/job-text';
import { stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { herdJobBounds, type JobInput } from './herd-job.ts';
import type { DraftInput } from './job-draft.ts';

/** What {@link findInputs} looks with. */
export interface FindInputsOptions {
  /** The folder of the job file. */
  readonly folder: string;
  readonly rename: ReadonlyMap<string, string>;
  readonly signal: AbortSignal;
}

/** The files of an entry, or faults with their places. */
export async function findInputs(
  draft: DraftInput,
  options: FindInputsOptions,
): Promise<{ readonly inputs: readonly JobInput[]; readonly faults: readonly string[] }> {
  const { folder, rename, signal } = options;
  const faults: string[] = [];
  const fault = (text: string): { inputs: []; faults: readonly string[] } => ({
    inputs: [],
    faults: [`${draft.place}: ${text}`],
  });
  signal.throwIfAborted();
  // Only `from` may name what lies elsewhere, and then says where it goes.
  const here = confinedPath(draft.from);
  if (!here.ok && draft.to === undefined) {
    return fault(`${here.message}; what lies elsewhere is named with from and to`);
  }
  const target = draft.to === undefined ? undefined : confinedPath(draft.to);
  if (target?.ok === false) return fault(target.message);
  const source = resolve(folder, draft.original === true ? draft.from.replaceAll('\\', '/') : draft.from);
  const found = await statOf(source);
  const inputs: JobInput[] = [];
  const add = async (file: string, path: string): Promise<void> => {
    const info = await statOf(file);
    if (info === undefined || typeof info === 'string') {
      faults.push(`${draft.place}: ${file} ${info === undefined ? 'is not there' : `cannot be read: ${info}`}`);
    } else if (!info.isFile()) {
      faults.push(`${draft.place}: ${file} is neither a file nor a folder`);
    } else {
      inputs.push({
        path: rename.get(relative(folder, file).split(sep).join('/')) ?? path,
        source: file,
        executable: draft.executable ?? (Number(info.mode) & 0o111) !== 0,
        architecture: draft.architecture,
      });
    }
  };
  if (typeof found === 'object' && !found.isDirectory()) {
    await add(source, target?.path ?? (here.ok ? here.path : ''));
    return { inputs, faults };
  }
  if (typeof found === 'string') return fault(`${draft.from} cannot be read: ${found}`);
  if (draft.original === true) {
    return fault(found === undefined ? `${draft.from} is not there` : `${draft.from} is a folder; allowed are files`);
  }
  const isPattern = found === undefined;
  if (isPattern && !isDynamicPattern(draft.from)) return fault(`${draft.from} is not there`);
  const top = isPattern ? resolve(folder, staticStart(draft.from)) : source;
  const files = await glob(isPattern ? draft.from.slice(staticStart(draft.from).length) : '**', {
    cwd: top,
    dot: !isPattern,
    onlyFiles: true,
    followSymbolicLinks: true,
    signal,
  });
  signal.throwIfAborted();
  if (files.length === 0) return fault(`${draft.from} ${isPattern ? 'matches no file' : 'holds no file'}`);
  if (files.length > herdJobBounds.inputsMax) {
    return fault(`${draft.from} stands for ${files.length} files; allowed are ${herdJobBounds.inputsMax}`);
  }
  const into = target?.path ?? relative(folder, top).split(sep).join('/');
  for (const file of files.sort()) await add(join(top, file), into === '' || into === '.' ? file : `${into}/${file}`);
  return { inputs, faults };
}

/** The folders of a pattern before the first that has a sign in it. */
function staticStart(pattern: string): string {
  const parts = pattern.split('/');
  const first = parts.findIndex((part) => isDynamicPattern(part));
  return parts
    .slice(0, first)
    .map((part) => `${part}/`)
    .join('');
}

/** Absent: there is nothing; a text: why it cannot be told. */
async function statOf(path: string): Promise<Awaited<ReturnType<typeof stat>> | string | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === 'ENOENT' || code === 'ENOTDIR' ? undefined : messageOf(error);
  }
}
