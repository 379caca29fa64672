import { create } from '@bufbuild/protobuf';
import { digestOfStream, digestToWire, parseDigest, storeTree, type ContentStore } from '@drover/content-store';
import { DroverError, messageOf } from '@drover/lease-kit';
import { BlobDigestSchema } from '@drover/lease-protocol';
import {
  FileInputSchema,
  GitInputSchema,
  type JobFileInput,
  type ResolvedSource,
  type ResolveInput,
} from '@drover/lease-type-job';
import { createSnapshotWorkspaceProvider } from '@drover/workspaces';
import { resolveCheckout } from '@drover/workspaces-git';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { bytesText } from '../output/words.ts';

/** What resolving the inputs of a job file needs. */
export interface ResolveInputDeps {
  /** The folder of the job file. */
  readonly jobDir: string;
  readonly content: ContentStore;
  readonly signal: AbortSignal;
  /** Says what takes time: an upload, a snapshot. */
  readonly note: (text: string) => void;
}

/**
 * Resolves inputs on the submitter's machine: a checkout becomes the commit that its revision names now, or, where there
 * is no git repository, a snapshot of its folder; uploads go to the content store.
 */
export function resolveInputOf(deps: ResolveInputDeps): ResolveInput {
  return async (input, place) => {
    try {
      return await resolveOne(input, deps);
    } catch (error) {
      if (deps.signal.aborted) throw error;
      const known = error instanceof DroverError ? { code: error.code, advice: error.advice } : undefined;
      throw new DroverError({
        ...(known ?? { code: 'INPUT_UNREADABLE', advice: 'fix-input' as const }),
        message: `${place}: input ${JSON.stringify(input.path)}: ${messageOf(error)}`,
        cause: error,
      });
    }
  };
}

async function resolveOne(input: JobFileInput, deps: ResolveInputDeps): Promise<ResolvedSource> {
  if ('git' in input) return { case: 'git', value: create(GitInputSchema, input.git) };
  if ('checkout' in input) return resolveCheckoutInput(input.checkout, deps);
  if ('upload' in input) return upload(resolve(deps.jobDir, input.upload), deps);
  if ('tree' in input) return { case: 'tree', value: create(BlobDigestSchema, digestToWire(parseDigest(input.tree))) };
  const digest = digestToWire(parseDigest(input.blob));
  return { case: 'file', value: create(FileInputSchema, { digest, executable: input.executable ?? false }) };
}

async function resolveCheckoutInput(
  checkout: { readonly folder: string; readonly revision: string },
  deps: ResolveInputDeps,
): Promise<ResolvedSource> {
  const folder = resolve(deps.jobDir, checkout.folder);
  const found = await resolveCheckout({ folder, revision: checkout.revision }, deps.signal);
  if (found !== undefined) {
    deps.note(`${folder} at commit ${found.revision.slice(0, 12)}`);
    return { case: 'git', value: create(GitInputSchema, { url: found.topFolder, revision: found.revision }) };
  }
  deps.note(`${folder} is no git repository: taking a snapshot of the folder`);
  return uploadSnapshot(folder, deps);
}

async function upload(path: string, deps: ResolveInputDeps): Promise<ResolvedSource> {
  const found = await stat(path);
  if (found.isDirectory()) return uploadTree(path, deps);
  const digest = await digestOfStream(createReadStream(path));
  await deps.content.write(digest, () => createReadStream(path), { signal: deps.signal });
  const executable = (found.mode & 0o111) !== 0;
  return { case: 'file', value: create(FileInputSchema, { digest: digestToWire(digest), executable }) };
}

/** Sends what a snapshot of a folder holds: without what is installed, built or ignored. */
async function uploadSnapshot(folder: string, deps: ResolveInputDeps): Promise<ResolvedSource> {
  const parent = await mkdtemp(join(tmpdir(), 'drover-snapshot-'));
  try {
    const request = { source: folder, destination: join(parent, 'copy') };
    const copy = await createSnapshotWorkspaceProvider().materialize(request, deps.signal);
    return await uploadTree(copy.dir, deps);
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
}

async function uploadTree(directory: string, deps: ResolveInputDeps): Promise<ResolvedSource> {
  const stored = await storeTree(deps.content, { directory, signal: deps.signal });
  deps.note(`${stored.fileCount} files, ${bytesText(stored.uploadedBytes)} sent`);
  return { case: 'tree', value: create(BlobDigestSchema, digestToWire(stored.digest)) };
}
