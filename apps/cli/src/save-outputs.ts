import { digestFromWire, type ContentStore } from '@drover/content-store';
import type { JobStatus } from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import { confinedPath, type Output } from '@drover/lease-type-job';
import { createWriteStream } from 'node:fs';
import { chmod, lstat, mkdir, realpath, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { batchResultOf } from './output/job-view.ts';

/** Where outputs go. */
export interface SaveOutputsOptions {
  readonly folder: string;
  /** Replace files that are there; otherwise they are an error. */
  readonly replace: boolean;
}

/** Writes the outputs of a job's batches below `folder/<batch>/`; answers the paths. */
export async function saveOutputs(
  job: JobStatus,
  content: ContentStore,
  options: SaveOutputsOptions,
  signal: AbortSignal,
): Promise<string[]> {
  const saved: string[] = [];
  for (const lease of job.leases) {
    const folder = join(resolve(options.folder), confined(lease.name || '.'));
    for (const output of batchResultOf(lease)?.outputs ?? []) {
      saved.push(await saveOutput(output, folder, content, options, signal));
    }
  }
  return saved;
}

async function saveOutput(
  output: Output,
  folder: string,
  content: ContentStore,
  options: SaveOutputsOptions,
  signal: AbortSignal,
): Promise<string> {
  const path = join(folder, confined(output.path));
  await mkdir(dirname(path), { recursive: true });
  const top = await realpath(folder);
  const real = await realpath(dirname(path));
  if (real !== top && !real.startsWith(top + sep)) {
    throw new DroverError({
      code: 'SYMLINK_ESCAPES',
      advice: 'fix-input',
      message: `${dirname(path)} is a symbolic link that leads out of ${folder}`,
    });
  }
  if (!options.replace && (await lstat(path).catch(() => undefined))) {
    throw new DroverError({
      code: 'OUTPUT_EXISTS',
      advice: 'fix-input',
      message: `${path} is there already; --force replaces it`,
    });
  }
  const temporary = `${path}.drover-part`;
  try {
    const digest = digestFromWire(output.digest ?? { hash: '', sizeBytes: 0n });
    await rm(temporary, { force: true });
    await pipeline(Readable.from(content.read(digest, { signal })), createWriteStream(temporary, { flags: 'wx' }), {
      signal,
    });
    if (output.executable) await chmod(temporary, 0o755);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return path;
}

/** What others have named is not to be trusted with paths of this machine: neither a lease nor its outputs. */
function confined(name: string): string {
  const checked = confinedPath(name);
  if (checked.ok) return checked.path;
  throw new DroverError({ code: 'PATH_ESCAPES', advice: 'fix-input', message: checked.message });
}
