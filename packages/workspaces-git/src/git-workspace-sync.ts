import { silentLogger, type Logger } from '@drover/lease-kit';
import {
  claimWorkspaceFolder,
  type ClaimedWorkspaceFolder,
  type WorkspaceSyncContext,
  type WorkspaceSyncProvider,
  type WorkspaceSyncReport,
  type WorkspaceSyncRequest,
} from '@drover/workspaces';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkGitRequest } from './check-git-request.ts';
import { trustingConfig } from './git-checkout.ts';
import { repositoryMissing } from './git-errors.ts';
import { endStrayGit, removeLeftovers, workspaceKey } from './git-leftovers.ts';
import { GitProgress } from './git-progress.ts';
import { parseGitRevision, parseGitSource, type GitRevision, type GitSource, type GitTransport } from './git-source.ts';
import { GitWorkingTree, WorkspaceBroken } from './git-working-tree.ts';

/** Data of {@link createGitWorkspaceSync}. */
export interface GitWorkspaceSyncOptions {
  /** What a source may be reached by; default `https`, `ssh` and `file` (paths of this machine). */
  readonly transports?: readonly GitTransport[];
  /** How long one call of git may take; default 2 hours. */
  readonly timeoutMs?: number;
  /** The program; default `git`, looked up on the PATH. 2.30 or newer. */
  readonly gitPath?: string;
}

/** Behaviour of {@link createGitWorkspaceSync}. */
export interface GitWorkspaceSyncDeps {
  /** Default: silent. */
  readonly logger?: Logger;
}

/** One sync of a folder that is claimed. */
interface Sync {
  readonly source: GitSource;
  readonly revision: GitRevision;
  readonly request: WorkspaceSyncRequest;
  readonly progress: GitProgress;
  readonly tree: GitWorkingTree;
}

/**
 * Keeps long-lived git workspaces as their source is now: fetched, with a detached HEAD at the wanted commit, tracked files as
 * committed, submodules as the commit has them if asked for. Files that are not tracked stay unless their removal is asked for.
 *
 * Hooks never run, and the repository's own settings are written anew each time. Lock files and processes of git that a kill
 * left are ended first; a repository that is damaged is thrown away and fetched again, which keeps files that are not tracked.
 *
 * Codes beyond the port's: those of `createGitWorkspaceProvider` without its cache's, and `GIT_REQUEST_INVALID` (`fix-input`).
 */
export function createGitWorkspaceSync(
  options: GitWorkspaceSyncOptions = {},
  { logger = silentLogger }: GitWorkspaceSyncDeps = {},
): WorkspaceSyncProvider {
  const { transports = ['https', 'ssh', 'file'], timeoutMs = 2 * 3_600_000, gitPath = 'git' } = options;

  async function withTree(
    request: WorkspaceSyncRequest,
    folder: ClaimedWorkspaceFolder,
    { signal, progress: report }: WorkspaceSyncContext,
  ): Promise<WorkspaceSyncReport> {
    const source = parseGitSource(request.source, transports);
    const revision = parseGitRevision(request.revision ?? 'HEAD');
    // What a repository from elsewhere names (submodules, redirects) must not reach this machine's files.
    const reachable = transports.filter((transport) => transport !== 'file' || source.transport === 'file');
    const trust = await trustIn(source);
    const progress = new GitProgress(report);
    try {
      progress.enter({ from: 0, to: 2, message: 'looking at what is there' });
      const { dir } = folder;
      const key = await workspaceKey(request.root, folder.key);
      const { trustEnv } = trust;
      const protocols = reachable.join(':');
      const common = { source, dir, key, gitPath, timeoutMs, protocols, trustEnv, progress };
      const tree = new GitWorkingTree(common, signal);
      const hadStrays = await endStrayGit(key, signal);
      const hadLocks = await removeLeftovers(tree.gitDir);
      const sync = { source, revision, request, progress, tree };
      try {
        return { ...(await run(sync)), repaired: hadStrays || hadLocks };
      } catch (error) {
        if (!(error instanceof WorkspaceBroken)) throw error;
        logger.warn({ err: error.failure, dir }, 'the repository of a workspace is damaged and is made anew');
        await tree.discard();
        return { ...(await run(sync)), repaired: true };
      }
    } catch (error) {
      throw error instanceof WorkspaceBroken ? error.failure : error;
    } finally {
      await trust.dispose();
    }
  }

  return {
    kind: 'git',
    async sync(request, context) {
      context.signal.throwIfAborted();
      // Before a folder is made for it.
      parseGitSource(request.source, transports);
      parseGitRevision(request.revision ?? 'HEAD');
      checkGitRequest(request);
      using folder = await claimWorkspaceFolder(request.root, request.folder);
      return await withTree(request, folder, context);
    },
  };
}

async function run({
  source,
  revision,
  request,
  progress,
  tree,
}: Sync): Promise<Omit<WorkspaceSyncReport, 'repaired'>> {
  const { depth, sparse = [], submodules = false, remove = 'nothing' } = request;
  await tree.open(sparse);
  const storedBefore = await tree.storedBytes();
  const from = await tree.head();
  progress.enter({ from: 2, to: 60, message: `fetching ${source.shownUrl}` });
  const to = await tree.fetch(revision, depth);
  progress.enter({ from: 60, to: 64, message: 'looking for changes' });
  const changes = await tree.changes(from, to);
  const filesRestored = from === undefined ? 0 : await tree.dirty();
  progress.enter({ from: 64, to: 85, message: `checking out ${to.slice(0, 10)}` });
  await tree.checkOut(to);
  if (submodules) {
    progress.enter({ from: 85, to: 94, message: 'bringing submodules' });
    await tree.updateSubmodules(depth);
  }
  progress.enter({ from: 94, to: 98, message: 'tidying up' });
  const untrackedRemoved = await tree.removeUntracked(remove, submodules);
  if (from !== to) await tree.collect();
  const storedBytes = Math.max(0, (await tree.storedBytes()) - storedBefore);
  progress.enter({ from: 100, to: 100, message: `at ${to.slice(0, 10)}` });
  return {
    ...(from === undefined ? {} : { from }),
    to,
    filesAdded: changes.added,
    filesChanged: changes.changed,
    filesRemoved: changes.removed,
    filesRestored,
    untrackedRemoved,
    storedBytes,
  };
}

/** Lets git trust a source on this machine, which may belong to another user. */
async function trustIn(source: GitSource): Promise<{
  readonly trustEnv: Readonly<Record<string, string>>;
  readonly dispose: () => Promise<void>;
}> {
  if (source.path === undefined) return { trustEnv: {}, dispose: () => Promise.resolve() };
  if ((await stat(source.path).catch(() => undefined)) === undefined) throw repositoryMissing(source.path);
  const dir = await mkdtemp(join(tmpdir(), 'drover-git-'));
  const path = join(dir, 'gitconfig');
  await writeFile(path, await trustingConfig(source.path));
  return { trustEnv: { GIT_CONFIG_GLOBAL: path }, dispose: () => rm(dir, { recursive: true, force: true }) };
}
