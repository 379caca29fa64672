import { DroverError, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { copyAt, prepareDestination, removeWorkingCopy, type WorkspaceProvider } from '@drover/workspaces';
import { createGitCheckout } from './git-checkout.ts';
import { createGitMirrors } from './git-mirrors.ts';
import { parseGitRevision, parseGitSource, type GitTransport } from './git-source.ts';

/** Data of {@link createGitWorkspaceProvider}. */
export interface GitWorkspaceOptions {
  /** A folder for bare mirrors, on the disk of the destinations for speed; shared by the processes of one machine. */
  readonly cacheDir: string;
  /** The most mirrors that are kept; default 32. Removing one harms no working copy. */
  readonly mirrorsMax?: number;
  /** What a source may be reached by; default `https`, `ssh` and `file` (paths of this machine). */
  readonly transports?: readonly GitTransport[];
  /** How long one call of git may take; default 30 minutes. */
  readonly timeoutMs?: number;
  /** How long to wait while another call uses the same mirror; default 30 minutes. */
  readonly lockWaitMs?: number;
  /** The program; default `git`, looked up on the PATH. 2.30 or newer. */
  readonly gitPath?: string;
}

/** Behaviour of {@link createGitWorkspaceProvider}. */
export interface GitWorkspaceDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

/**
 * Makes git working copies at a commit, through a bare mirror of each repository. A copy holds what is committed, never a
 * dirty tree; it is a full repository with a detached HEAD, shares no file that git would ever change, and outlives the
 * mirror. A commit that the mirror has needs no network.
 *
 * `revision` is a commit id of 40 digits, or `HEAD` (the default), a branch, a tag or a full ref (`refs/pull/7/head`); a
 * name is asked of the repository each time, tags before branches as git does.
 *
 * Codes beyond the port's: `GIT_SOURCE_INVALID`, `GIT_REVISION_INVALID` (`fix-input`), `GIT_TRANSPORT_DENIED`,
 * `GIT_ACCESS_DENIED`, `GIT_REPOSITORY_NOT_TRUSTED` (`denied`), `GIT_REPOSITORY_NOT_FOUND`, `GIT_REVISION_UNKNOWN`
 * (`not-found`), `GIT_DISK_FULL` (`exhausted`), `GIT_REPOSITORY_UNREACHABLE`, `GIT_TIMED_OUT`, `GIT_CACHE_BUSY`,
 * `GIT_MISSING` (`unavailable`).
 */
export function createGitWorkspaceProvider(
  options: GitWorkspaceOptions,
  deps: GitWorkspaceDeps = {},
): WorkspaceProvider {
  const { clock = systemClock, logger = silentLogger } = deps;
  const { cacheDir, mirrorsMax = 32, transports = ['https', 'ssh', 'file'] } = options;
  const { timeoutMs = 30 * 60_000, lockWaitMs = 30 * 60_000, gitPath = 'git' } = options;
  if (!(mirrorsMax >= 1)) {
    throw new DroverError({
      code: 'GIT_OPTIONS_INVALID',
      advice: 'fix-input',
      message: 'mirrorsMax must be 1 or more',
    });
  }
  const mirrors = createGitMirrors({ cacheDir, mirrorsMax, lockWaitMs }, { clock, logger });
  return {
    kind: 'git',
    async materialize(request, signal) {
      signal.throwIfAborted();
      const source = parseGitSource(request.source, transports);
      const revision = parseGitRevision(request.revision ?? 'HEAD');
      await prepareDestination(request.destination);
      const checkout = createGitCheckout({ source, gitPath, timeoutMs, transports }, signal);
      try {
        await checkout.prepare();
        const id = await mirrors.withMirror(
          source.url,
          checkout.initMirror,
          async (mirror) => {
            const found = await checkout.resolve(mirror, revision);
            await checkout.cloneFrom(mirror, found, request.destination);
            return found;
          },
          signal,
        );
        await checkout.checkOut(request.destination, id, request.submodules === true);
        return copyAt(request.destination, id);
      } catch (error) {
        await removeWorkingCopy(request.destination);
        throw error;
      } finally {
        await checkout.dispose();
      }
    },
  };
}
