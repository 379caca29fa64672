import { DroverError } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, constants, copyFile, mkdir, realpath, stat, symlink } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import { walkSnapshot, type SnapshotEntry } from './snapshot-walk.ts';
import { prepareDestination, removeWorkingCopy } from './workspace-destination.ts';
import type { WorkspaceCopy, WorkspaceProvider, WorkspaceRequest } from './workspace-provider.ts';

/** Data of {@link createSnapshotWorkspaceProvider}. */
export interface SnapshotWorkspaceOptions {
  /** Left out, in the format of gitignore(5); default {@link defaultSnapshotExcludes}. */
  readonly excludes?: readonly string[];
  /** The most files and links of a snapshot; default 200,000. */
  readonly filesMax?: number;
  /** The most bytes of a snapshot; default 4 GiB. */
  readonly sizeBytesMax?: number;
}

/** What is made from source or belongs to a tool, and so is no part of a snapshot. */
export const defaultSnapshotExcludes: readonly string[] = [
  'node_modules',
  '.git',
  'dist',
  '.drover',
  '.nx',
  'coverage',
];

const copiesAtOnce = 8;

/**
 * Copies a plain folder as it is now, for source that is under no version control. The revision is `sha256:` and the
 * digest of all paths, modes and contents; asked for (`HEAD` or none asks for whatever is there), it must match, or
 * `WORKSPACE_REVISION_UNKNOWN` (`not-found`) is thrown. A folder that changes while it is copied gives a mixture, whose
 * digest is that of the copy. Other errors: `WORKSPACE_SOURCE_INVALID` (`fix-input`), `WORKSPACE_SOURCE_MISSING`
 * (`not-found`), `WORKSPACE_TOO_LARGE`, `WORKSPACE_LINK_ESCAPES`.
 */
export function createSnapshotWorkspaceProvider(options: SnapshotWorkspaceOptions = {}): WorkspaceProvider {
  const { excludes = defaultSnapshotExcludes, filesMax = 200_000, sizeBytesMax = 4 * 1024 ** 3 } = options;
  return {
    kind: 'snapshot',
    async materialize(request, signal) {
      signal.throwIfAborted();
      await checkSource(request.source);
      await prepareDestination(request.destination);
      try {
        const root = await realpath(request.source);
        const skipDir = await realpath(request.destination);
        const entries = await walkSnapshot(root, { excludes, skipDir, filesMax, sizeBytesMax }, signal);
        const revision = await copyEntries(root, request.destination, entries, signal);
        checkRevision(request, revision);
        return copyAt(request.destination, revision);
      } catch (error) {
        await removeWorkingCopy(request.destination);
        throw error;
      }
    },
  };
}

/** A {@link WorkspaceCopy} of a folder that is ready. */
export function copyAt(dir: string, revision: string): WorkspaceCopy {
  const dispose = () => removeWorkingCopy(dir);
  return { dir, revision, dispose, [Symbol.asyncDispose]: dispose };
}

async function checkSource(source: string): Promise<void> {
  if (!isAbsolute(source) || source.includes('\0')) {
    throw new DroverError({
      code: 'WORKSPACE_SOURCE_INVALID',
      advice: 'fix-input',
      message: `The source of a snapshot must be the absolute path of a folder, not ${JSON.stringify(source)}`,
    });
  }
  const found = await stat(source).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new DroverError({
    code: 'WORKSPACE_SOURCE_MISSING',
    advice: 'not-found',
    message: `There is no folder ${source} on this machine`,
  });
}

function checkRevision({ source, revision: wanted }: WorkspaceRequest, revision: string): void {
  if (wanted === undefined || wanted === 'HEAD' || wanted === revision) return;
  throw new DroverError({
    code: 'WORKSPACE_REVISION_UNKNOWN',
    advice: 'not-found',
    message: `${source} is under no version control and holds ${revision} now, not ${JSON.stringify(wanted)}`,
    details: { revision },
  });
}

async function copyEntries(
  root: string,
  destination: string,
  entries: readonly SnapshotEntry[],
  signal: AbortSignal,
): Promise<string> {
  for (const folder of new Set(entries.map(({ path }) => dirname(path))))
    await mkdir(join(destination, folder), { recursive: true });
  const lines: string[] = [];
  let next = 0;
  const work = async () => {
    for (let index = next++; index < entries.length; index = next++) {
      signal.throwIfAborted();
      lines[index] = await copyEntry(root, destination, entries[index]!);
    }
  };
  // All of them have to end, or one would still write while the destination is being removed.
  const done = await Promise.allSettled(Array.from({ length: copiesAtOnce }, work));
  for (const result of done) if (result.status === 'rejected') throw result.reason;
  return `sha256:${createHash('sha256').update(lines.join('')).digest('hex')}`;
}

/** Gives the entry's line of the digest: kind, content, path. */
async function copyEntry(root: string, destination: string, entry: SnapshotEntry): Promise<string> {
  const to = join(destination, entry.path);
  if (entry.kind === 'link') {
    await symlink(entry.target, to);
    return `link ${JSON.stringify(entry.target)} ${JSON.stringify(entry.path)}\n`;
  }
  await copyFile(join(root, entry.path), to, constants.COPYFILE_FICLONE);
  // The owner must be able to write to its copy, whatever the source allows.
  await chmod(to, entry.executable ? 0o755 : 0o644);
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(to)) hash.update(bytes as Buffer);
  return `${entry.executable ? 'program' : 'file'} ${hash.digest('hex')} ${JSON.stringify(entry.path)}\n`;
}
