import { DroverError, messageOf, type LeaseContext } from '@drover/lease-kit';
import { digestFromWire, materializeTree, type ContentStore } from '@drover/content-store';
import type { WorkspaceProvider } from '@drover/workspaces';
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, lstat, mkdir, realpath, rename, rm } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { confinedPath } from '@drover/job-text';
import type { FileInput, Input } from '../gen/drover/job/v1/job_pb.ts';

/** Where inputs come from. */
export interface PrepareInputsDeps {
  readonly content: ContentStore;
  /** By the name of the input's source, e.g. `git`. */
  readonly workspaces: readonly WorkspaceProvider[];
}

/**
 * Puts the inputs of a batch into its working folder, in their order. Throws a DroverError that names the input:
 * PATH_ESCAPES, SYMLINK_ESCAPES, BLOB_NOT_FOUND, WORKSPACE_KIND_UNKNOWN, or what the content store or git says.
 */
export async function prepareInputs(
  inputs: readonly Input[],
  work: string,
  deps: PrepareInputsDeps,
  context: LeaseContext,
): Promise<void> {
  for (const [index, input] of inputs.entries()) {
    context.progress(0, `input ${index + 1} of ${inputs.length}: ${input.path}`);
    try {
      await prepareInput(input, await placeOf(input, work), deps, context);
    } catch (error) {
      if (context.signal.aborted) throw error;
      throw new DroverError({
        ...(error instanceof DroverError
          ? { code: error.code, advice: error.advice }
          : { code: 'INPUT_FAILED', advice: 'unavailable' as const }),
        message: `input ${JSON.stringify(input.path)}: ${messageOf(error)}`,
        cause: error,
      });
    }
  }
}

async function prepareInput(
  input: Input,
  place: string,
  deps: PrepareInputsDeps,
  context: LeaseContext,
): Promise<void> {
  const { source } = input;
  switch (source.case) {
    case 'file':
      return writeFileInput(source.value, place, deps.content, context.signal);
    case 'tree':
      await materializeTree(deps.content, digestFromWire(source.value), { directory: place, signal: context.signal });
      return;
    case 'git': {
      const provider = deps.workspaces.find(({ kind }) => kind === 'git');
      if (!provider) {
        throw new DroverError({
          code: 'WORKSPACE_KIND_UNKNOWN',
          advice: 'fix-input',
          message: 'this agent has no git working copies',
        });
      }
      const { url, revision } = source.value;
      await provider.materialize({ source: url, revision: revision || 'HEAD', destination: place }, context.signal);
      return;
    }
    case undefined:
      throw new DroverError({
        code: 'INPUT_EMPTY',
        advice: 'fix-input',
        message: 'says nothing of where it comes from',
      });
  }
}

/**
 * The place of an input, its parent made; an earlier input's symbolic link must not lead it out of the folder. That is looked
 * at before anything is made, for a folder would be made through the link too.
 */
async function placeOf({ path, source }: Input, work: string): Promise<string> {
  const confined = confinedPath(path);
  if (!confined.ok) throw new DroverError({ code: 'PATH_ESCAPES', advice: 'fix-input', message: confined.message });
  const place = join(work, confined.path);
  const parent = confined.path === '.' ? place : dirname(place);
  const top = await realpath(work);
  // A file is renamed into its place, in which a link is replaced; a tree or a working copy would go through it.
  let existing = source.case === 'file' ? parent : place;
  while (existing !== work && !(await exists(existing))) existing = dirname(existing);
  const real = await realpath(existing).catch(() => undefined);
  if (real === undefined || (real !== top && !real.startsWith(top + sep))) {
    throw new DroverError({
      code: 'SYMLINK_ESCAPES',
      advice: 'fix-input',
      message: `a symbolic link of an earlier input leads ${JSON.stringify(path)} out of the working folder`,
    });
  }
  await mkdir(parent, { recursive: true });
  return place;
}

function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function writeFileInput(
  input: FileInput,
  place: string,
  content: ContentStore,
  signal: AbortSignal,
): Promise<void> {
  if (!input.digest) {
    throw new DroverError({ code: 'DIGEST_INVALID', advice: 'fix-input', message: 'has no digest' });
  }
  // Renamed into place when complete: a symbolic link that stands there is replaced, not followed.
  const temporary = join(dirname(place), `.drover-${randomUUID()}`);
  try {
    const bytes = content.read(digestFromWire(input.digest), { signal });
    await pipeline(Readable.from(bytes), createWriteStream(temporary, { flags: 'wx' }), { signal });
    await chmod(temporary, input.executable ? 0o755 : 0o644);
    await rename(temporary, place);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
