import { access, mkdtemp, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gitError, isBrokenMirror, isMissingRef, repositoryMissing, revisionUnknown } from './git-errors.ts';
import { MirrorBroken } from './git-mirrors.ts';
import type { GitRevision, GitSource, GitTransport } from './git-source.ts';
import { gitEnvironment, runGit, type GitOutput } from './run-git.ts';

/** What a {@link GitCheckout} works with. */
export interface GitCheckoutOptions {
  readonly source: GitSource;
  readonly gitPath: string;
  readonly timeoutMs: number;
  readonly transports: readonly GitTransport[];
}

/** The steps from a source to a working copy; each throws what `createGitWorkspaceProvider` lists. */
export interface GitCheckout {
  /** Looks whether a source on this machine is there, and lets git trust it. */
  prepare(): Promise<void>;
  /** Makes an empty mirror. */
  initMirror(dir: string): Promise<void>;
  /** Gives the commit that a revision names, and sees to it that the mirror has it. */
  resolve(mirror: string, revision: GitRevision): Promise<string>;
  /** Makes a repository at an empty folder that has the commit, and needs the mirror no more. */
  cloneFrom(mirror: string, commit: string, destination: string): Promise<void>;
  /** Puts the commit's files there. */
  checkOut(destination: string, commit: string, submodules: boolean): Promise<void>;
  /** Removes what {@link prepare} made. */
  dispose(): Promise<void>;
}

/** The same for every call of git: nothing of a repository's or a user's settings may run programs or change what is checked out. */
export const gitSettings: readonly string[] = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.autocrlf=false',
  'advice.detachedHead=false',
  'fetch.recurseSubmodules=false',
  'submodule.recurse=false',
  // A gc in the background would go on in a mirror that is no longer locked.
  'gc.autoDetach=false',
  'maintenance.autoDetach=false',
  // A connection that moves less than 1000 bytes a second for a minute is dead.
  'http.lowSpeedLimit=1000',
  'http.lowSpeedTime=60',
].flatMap((setting) => ['-c', setting]);

/** Where the mirror keeps what is not a branch or a tag; clones do not copy these names. */
const askedRef = 'refs/drover/asked';

/** The steps for one request. */
export function createGitCheckout(options: GitCheckoutOptions, signal: AbortSignal): GitCheckout {
  const { source, gitPath, timeoutMs, transports } = options;
  // What a repository from elsewhere names (submodules, redirects) must not reach this machine's files.
  const reachable = transports.filter((transport) => transport !== 'file' || source.transport === 'file').join(':');
  let trustDir: string | undefined;
  let trustEnv: Record<string, string> = {};

  function git(args: readonly string[], protocols: string): Promise<GitOutput> {
    const env = gitEnvironment(process.env, { GIT_ALLOW_PROTOCOL: protocols, ...trustEnv });
    return runGit({ gitPath, args: [...gitSettings, ...args], env, signal, timeoutMs });
  }

  /** Runs git in the mirror; damage of the mirror is told from damage of the source. */
  async function gitInMirror(mirror: string, args: readonly string[]): Promise<GitOutput> {
    const output = await git([`--git-dir=${mirror}`, ...args], reachable);
    const gone = /not a git repository/.test(output.stderr) && output.stderr.includes(mirror);
    if (output.exitCode !== 0 && (gone || isBrokenMirror(output.stderr))) {
      throw new MirrorBroken(gitError('Using the mirror of', source, output.stderr));
    }
    return output;
  }

  async function must(doing: string, args: readonly string[], protocols: string): Promise<GitOutput> {
    const output = await git(args, protocols);
    if (output.exitCode !== 0) throw gitError(doing, source, output.stderr);
    return output;
  }

  async function commitOf(mirror: string, name: string): Promise<string | undefined> {
    const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
    const { exitCode, stdout } = await gitInMirror(mirror, args);
    return exitCode === 0 ? stdout.trim() : undefined;
  }

  /** False when the repository answered that it does not have one of the refs. */
  async function fetch(mirror: string, refspecs: readonly string[], prune: boolean): Promise<boolean> {
    const args = ['fetch', '--quiet', '--force', '--no-tags', '--update-shallow', '--no-write-fetch-head'];
    const output = await gitInMirror(mirror, [...args, ...(prune ? ['--prune'] : []), '--', source.url, ...refspecs]);
    if (output.exitCode === 0) return true;
    if (isMissingRef(output.stderr)) return false;
    throw gitError('Fetching', source, output.stderr);
  }

  const fetchBranchesAndTags = (mirror: string) =>
    fetch(mirror, ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*'], true);

  async function resolveName(mirror: string, name: string): Promise<string | undefined> {
    await fetchBranchesAndTags(mirror);
    if (name === 'HEAD' || (name.startsWith('refs/') && !/^refs\/(?:heads|tags)\//.test(name))) {
      return (await fetch(mirror, [`+${name}:${askedRef}`], false)) ? commitOf(mirror, askedRef) : undefined;
    }
    if (name.startsWith('refs/')) return commitOf(mirror, name);
    return (await commitOf(mirror, `refs/tags/${name}`)) ?? (await commitOf(mirror, `refs/heads/${name}`));
  }

  async function resolveCommit(mirror: string, id: string): Promise<string | undefined> {
    const known = await commitOf(mirror, id);
    if (known !== undefined) return known;
    // One that no branch or tag reaches may still be asked for by its id; most servers give it.
    await fetchBranchesAndTags(mirror);
    return (
      (await commitOf(mirror, id)) ??
      ((await fetch(mirror, [`+${id}:${askedRef}`], false)) ? commitOf(mirror, id) : undefined)
    );
  }

  return {
    async prepare() {
      if (source.path === undefined) return;
      if ((await stat(source.path).catch(() => undefined)) === undefined) {
        throw repositoryMissing(source.path);
      }
      trustDir = await mkdtemp(join(tmpdir(), 'drover-git-'));
      const path = join(trustDir, 'gitconfig');
      await writeFile(path, await trustingConfig(source.path));
      // `-c safe.directory` does not reach git-upload-pack, which git starts without its own -c; this file does.
      trustEnv = { GIT_CONFIG_GLOBAL: path };
    },

    async initMirror(dir) {
      await must('Making a mirror of', ['init', '--quiet', '--bare', '--template=', '--', dir], '');
      // Copies ask the mirror for any commit that it has, when they cannot link its files.
      await must('Making a mirror of', [`--git-dir=${dir}`, 'config', 'uploadpack.allowAnySHA1InWant', 'true'], '');
    },

    async resolve(mirror, revision) {
      const found =
        revision.kind === 'commit'
          ? await resolveCommit(mirror, revision.id)
          : await resolveName(mirror, revision.name);
      if (found !== undefined) return found;
      throw revisionUnknown(revision.kind === 'commit' ? revision.id : revision.name, source);
    },

    async cloneFrom(mirror, commit, destination) {
      // Hard links to the mirror's packs, or copies across disks: unlike alternates or worktrees, neither needs the
      // mirror afterwards, so that it can be pruned at any time.
      const local = [
        'clone',
        '--quiet',
        '--no-checkout',
        '--template=',
        '--origin',
        'origin',
        '--',
        mirror,
        destination,
      ];
      const shallow = await exists(join(mirror, 'shallow'));
      if (shallow) await must('Copying', ['init', '--quiet', '--template=', '--', destination], '');
      else await must('Copying', local, 'file');
      const inCopy = (args: readonly string[]) => ['-C', destination, ...args];
      const { exitCode } = await git(inCopy(['cat-file', '-e', `${commit}^{commit}`]), '');
      if (exitCode !== 0) {
        const args = ['fetch', '--quiet', '--no-tags', '--update-shallow', '--', mirror, commit];
        await must('Copying', inCopy(args), 'file');
      }
      if (shallow) await must('Copying', inCopy(['remote', 'add', '--', 'origin', source.shownUrl]), '');
      else await must('Copying', inCopy(['remote', 'set-url', '--', 'origin', source.shownUrl]), '');
    },

    async checkOut(destination, commit, submodules) {
      await must(
        'Checking out',
        ['-C', destination, 'checkout', '--quiet', '--force', '--detach', commit, '--'],
        reachable,
      );
      if (!submodules) return;
      const args = ['-C', destination, 'submodule', '--quiet', 'update', '--init', '--recursive', '--force'];
      await must('Bringing the submodules of', args, reachable);
    },

    async dispose() {
      if (trustDir !== undefined) await rm(trustDir, { recursive: true, force: true });
    },
  };
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/**
 * The user's own settings, and the word that this one repository is trusted although it may belong to another user: who
 * asks for a path of this machine by name has decided that already.
 */
export async function trustingConfig(path: string): Promise<string> {
  const own = process.env['GIT_CONFIG_GLOBAL'];
  const home = process.env['HOME'] ?? homedir();
  const included =
    own === undefined
      ? [join(process.env['XDG_CONFIG_HOME'] ?? join(home, '.config'), 'git', 'config'), join(home, '.gitconfig')]
      : [own];
  const real = await realpath(path);
  const trusted = new Set([path, real, join(path, '.git'), join(real, '.git')]);
  const quoted = (value: string) => `"${value.replace(/["\\]/g, '\\$&')}"`;
  return [
    ...included.filter((file) => file !== '').map((file) => `[include]\n\tpath = ${quoted(file)}`),
    '[safe]',
    ...[...trusted].map((dir) => `\tdirectory = ${quoted(dir)}`),
    '',
  ].join('\n');
}
