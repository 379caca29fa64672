import { DroverError } from '@drover/lease-kit';
import { realpath, stat } from 'node:fs/promises';
import { gitEnvironment, runGit, type GitOutput } from './run-git.ts';

/** A folder that may be in a git repository, and a revision of that repository. */
export interface CheckoutRequest {
  /** An absolute path. */
  readonly folder: string;
  /** Anything that git resolves to a commit: `HEAD`, a branch, a tag, a commit id or the start of one. */
  readonly revision: string;
  /** Default `git`, looked up on the PATH. */
  readonly gitPath?: string;
}

/** A commit of a repository on this machine. */
export interface ResolvedCheckout {
  /** The top folder of the working copy that the folder is in: a `source` of the git workspace provider. */
  readonly topFolder: string;
  /** 40 hexadecimal digits. */
  readonly revision: string;
}

const timeoutMs = 30_000;

/**
 * Finds the repository that a folder is in and the commit that a revision names there now; undefined for a folder that is
 * in none, and for a repository without a commit. Works for a repository of another user, of which it reads names alone.
 * Throws `GIT_FOLDER_INVALID`, and `GIT_REVISION_UNKNOWN` for a revision that is not there.
 */
export async function resolveCheckout(
  request: CheckoutRequest,
  signal: AbortSignal,
): Promise<ResolvedCheckout | undefined> {
  const folder = await folderOf(request.folder);
  const git = (args: readonly string[]): Promise<GitOutput> =>
    runGit({
      gitPath: request.gitPath ?? 'git',
      // No hook, filter or monitor of that repository runs for these commands, so its owner does not matter.
      args: ['-c', 'safe.directory=*', '-c', 'core.fsmonitor=false', '-C', folder, ...args],
      env: gitEnvironment(process.env, {}),
      signal,
      timeoutMs,
    });
  const top = await git(['rev-parse', '--show-toplevel']);
  if (top.exitCode !== 0) return undefined;
  const topFolder = top.stdout.trimEnd();
  const commit = await git(['rev-parse', '--verify', '--quiet', '--end-of-options', `${request.revision}^{commit}`]);
  if (commit.exitCode === 0) return { topFolder, revision: commit.stdout.trim() };
  const head = await git(['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']);
  if (head.exitCode !== 0) return undefined;
  throw new DroverError({
    code: 'GIT_REVISION_UNKNOWN',
    advice: 'not-found',
    message: `${topFolder} has no commit ${JSON.stringify(request.revision)}`,
  });
}

async function folderOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return realpath(path);
  throw new DroverError({
    code: 'GIT_FOLDER_INVALID',
    advice: 'fix-input',
    message: `${path} is ${found ? 'no folder' : 'not there'}`,
  });
}
