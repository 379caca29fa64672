import { create } from '@bufbuild/protobuf';
import { digestOfStream, digestToWire, forEachLimited, type ContentStore } from '@drover/content-store';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import { ReasonSchema, type Reason } from '@drover/lease-protocol';
import { constants, createReadStream } from 'node:fs';
import { lstat, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { glob } from 'tinyglobby';
import { jobBounds } from '../bounds.ts';
import { confinedPath } from '@drover/job-text';
import { OutputSchema, type Output, type OutputRule } from '../gen/drover/job/v1/job_pb.ts';

/** What was kept of a working folder. */
export interface GatheredOutputs {
  /** By path. */
  readonly outputs: Output[];
  /** Required rules that found nothing. */
  readonly missing: string[];
  /** What could not be kept, and why. */
  readonly problems: Reason[];
}

const uploadConcurrency = 8;

/** Finds the files that the rules name and puts them into the content store. One bad file does not lose the others. */
export async function gatherOutputs(
  rules: readonly OutputRule[],
  work: string,
  content: ContentStore,
  signal: AbortSignal,
): Promise<GatheredOutputs> {
  const found = new Map<string, Output | undefined>();
  const missing: string[] = [];
  const problems: Reason[] = [];
  const problem = (code: string, message: string): void =>
    void problems.push(create(ReasonSchema, { code, message: message.slice(0, 1_024) }));

  for (const rule of rules) {
    const confined = confinedPath(rule.path);
    if (!confined.ok) {
      problem('PATH_ESCAPES', confined.message);
      continue;
    }
    const paths = await filesOf(confined.path, work, signal);
    if (paths.length === 0 && rule.required) missing.push(rule.path);
    for (const path of paths) found.set(path, undefined);
  }
  if (found.size > jobBounds.outputFilesMax) {
    problem('OUTPUTS_TOO_MANY', `${found.size} files; allowed are ${jobBounds.outputFilesMax}`);
    return { outputs: [], missing, problems };
  }
  const top = await realpath(work);
  await forEachLimited([...found.keys()], uploadConcurrency, async (path) => {
    try {
      found.set(path, await keepFile(path, top, content, signal));
    } catch (error) {
      if (signal.aborted) throw error;
      problem(isDroverError(error) ? error.code : 'OUTPUT_FAILED', `${path}: ${messageOf(error)}`);
    }
  });
  const outputs = [...found.values()].filter((output) => output !== undefined);
  return { outputs: outputs.sort((a, b) => (a.path < b.path ? -1 : 1)), missing, problems };
}

/** The files that a rule names: one path, everything in a folder, or the matches of a glob. */
async function filesOf(path: string, work: string, signal: AbortSignal): Promise<string[]> {
  const literal = await lstat(join(work, path)).catch(() => undefined);
  if (literal && !literal.isDirectory()) return [path];
  const patterns = literal ? (path === '.' ? '**' : `${escapeGlob(path)}/**`) : path;
  return glob(patterns, {
    cwd: work,
    dot: true,
    onlyFiles: true,
    followSymbolicLinks: false,
    expandDirectories: true,
    signal,
  });
}

function escapeGlob(path: string): string {
  return path.replaceAll(/[\\*?[\]{}()!+@|]/g, '\\$&');
}

async function keepFile(path: string, top: string, content: ContentStore, signal: AbortSignal): Promise<Output> {
  const real = await realpath(join(top, path));
  if (!real.startsWith(top + sep)) {
    throw new DroverError({
      code: 'SYMLINK_ESCAPES',
      advice: 'fix-input',
      message: 'is a symbolic link that leads out of the working folder',
    });
  }
  const { mode } = await stat(real);
  // Never through a link that took the file's place since, and never hanging on a pipe that did.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  const open = (start = 0) => createReadStream(real, { start, flags: flags as unknown as string });
  const digest = await digestOfStream(open());
  await content.write(digest, open, { signal });
  return create(OutputSchema, { path, digest: digestToWire(digest), executable: (mode & 0o111) !== 0 });
}
