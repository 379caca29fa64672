import { DroverError } from '@drover/lease-kit';
import { removeWorkingCopy, type WorkspaceRemoval } from '@drover/workspaces';
import { access, lstat, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gitSettings } from './git-checkout.ts';
import { gitError, isMissingRef, revisionUnknown } from './git-errors.ts';
import { workspaceKeyVariable } from './git-leftovers.ts';
import type { GitProgress } from './git-progress.ts';
import type { GitRevision, GitSource } from './git-source.ts';
import { gitEnvironment, runGit, type GitOutput } from './run-git.ts';

/** What a {@link GitWorkingTree} works with. */
export interface GitWorkingTreeOptions {
  readonly source: GitSource;
  readonly dir: string;
  readonly key: string;
  readonly gitPath: string;
  readonly timeoutMs: number;
  /** `GIT_ALLOW_PROTOCOL`: what the source, its redirects and its submodules may be reached by. */
  readonly protocols: string;
  /** Lets git trust a repository of this machine. */
  readonly trustEnv: Readonly<Record<string, string>>;
  readonly progress: GitProgress;
}

/** How many files a step was about. */
export interface TreeChanges {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

/** Thrown when the repository of the workspace, not its source, is damaged. */
export class WorkspaceBroken extends Error {
  readonly failure: Error;
  constructor(failure: Error) {
    super(failure.message);
    this.failure = failure;
  }
}

/** Where the wanted commit is kept from being collected. */
const targetRef = 'refs/drover/target';
/** `160000` is a commit: a submodule. */
const submoduleMode = '160000';

/** What a repository says of itself when it is damaged; what its source says of itself has `remote:` before it. */
const damage =
  /^(?!remote:).*(?:is corrupt|object file .* is empty|bad object|unable to read (?:tree|sha1)|index file|bad (?:config|signature|index)|not a git repository|missing blob|invalid object|did not send all necessary objects|cannot be accessed|failed to read|unable to find|bad line|loose object)/m;

/** The repository of one workspace, whose folder is claimed. Each step throws what `createGitWorkspaceSync` lists. */
export class GitWorkingTree {
  readonly #options: GitWorkingTreeOptions;
  readonly #signal: AbortSignal;
  readonly gitDir: string;

  constructor(options: GitWorkingTreeOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.gitDir = join(options.dir, '.git');
  }

  /** Makes the repository if it is not there, with settings that are the same every time, whoever changed them. */
  async open(sparse: readonly string[]): Promise<void> {
    const { dir, source } = this.#options;
    const stats = await lstat(this.gitDir).catch(() => undefined);
    // A link, or a file that leads elsewhere, is not what a sync made.
    if (stats !== undefined && !stats.isDirectory()) await rm(this.gitDir, { force: true });
    for (const name of ['info', 'hooks']) await this.#folder(name);
    await this.#write('config', configOf(source));
    // Sparse at all times: git brings files that were left out back by a pattern alone.
    const patterns = sparse.length === 0 ? ['/*'] : sparse;
    await this.#write('info/sparse-checkout', patterns.map((pattern) => `${pattern}\n`).join(''));
    for (const name of [
      'config.worktree',
      'info/attributes',
      'info/exclude',
      'info/grafts',
      'objects/info/alternates',
    ]) {
      await rm(join(this.gitDir, name), { force: true });
    }
    await this.must('Making', ['init', '--quiet', '--template=', '--initial-branch=drover', '--', dir]);
  }

  /** Throws the repository away. Files of the workspace stay where they are. */
  async discard(): Promise<void> {
    await removeWorkingCopy(this.gitDir);
  }

  /** The commit that is checked out; undefined if there is none, or it is damaged. */
  async head(): Promise<string | undefined> {
    return this.#commit('HEAD');
  }

  /** Gives the commit that a revision names at the source now, and sees to it that it is here. */
  async fetch(revision: GitRevision, depth: number | undefined): Promise<string> {
    const id = revision.kind === 'commit' ? revision.id : undefined;
    const ref = revision.kind === 'commit' ? revision.id : await this.#refOf(revision.name);
    const isShallow = await exists(join(this.gitDir, 'shallow'));
    // A commit that is here needs no source, unless its history does.
    if (id === undefined || isShallow !== (depth !== undefined) || (await this.#commit(id)) === undefined) {
      await this.#fetchRef(ref, depth, isShallow);
    } else {
      await this.must('Reading', ['update-ref', targetRef, id]);
    }
    const found = await this.#commit(targetRef);
    if (found !== undefined) return found;
    throw revisionUnknown(ref, this.#options.source);
  }

  /** How the files of two commits differ; without the first all of the second are added. */
  async changes(from: string | undefined, to: string): Promise<TreeChanges> {
    const counts = { added: 0, changed: 0, removed: 0 };
    const args =
      from === undefined
        ? ['ls-tree', '-r', '-z', '--name-only', to]
        : ['diff-tree', '-r', '-z', '--no-renames', '--name-status', from, to];
    await this.#records(args, (record, index) => {
      if (from === undefined) counts.added += 1;
      // A letter and a path in turn.
      else if (index % 2 === 0) counts[record === 'A' ? 'added' : record === 'D' ? 'removed' : 'changed'] += 1;
    });
    return counts;
  }

  /** Tracked files that differ from what is checked out. */
  async dirty(): Promise<number> {
    let count = 0;
    const args = ['status', '--porcelain=v1', '-z', '--no-renames', '--untracked-files=no', '--ignore-submodules=all'];
    await this.#records(args, () => (count += 1));
    return count;
  }

  /** Puts the commit's files there, whatever is in their way. */
  async checkOut(commit: string): Promise<void> {
    await this.#removeStaleSubmodules(commit);
    const args = ['checkout', '--progress', '--force', '--detach', '--no-recurse-submodules', commit, '--'];
    await this.must('Checking out', args);
  }

  /** Brings the submodules as the commit has them, also those that have moved or changed their source. */
  async updateSubmodules(depth: number | undefined): Promise<void> {
    // The settings were written anew, and `sync` passes over what they do not have.
    await this.must('Reading the submodules of', ['submodule', '--quiet', 'init']);
    await this.must('Reading the submodules of', ['submodule', '--quiet', 'sync', '--recursive']);
    const args = ['submodule', '--quiet', 'update', '--init', '--recursive', '--force'];
    await this.must('Bringing the submodules of', depth === undefined ? args : [...args, `--depth=${depth}`]);
  }

  /** Removes what is not tracked; answers how many files and folders went. */
  async removeUntracked(removal: WorkspaceRemoval, inSubmodules: boolean): Promise<number> {
    if (removal === 'nothing') return 0;
    const clean = ['clean', removal === 'untracked' ? '-ffd' : '-ffdx'];
    let count = 0;
    const countLines = (bytes: Buffer): void => {
      count += bytes.toString('latin1').split('Removing ').length - 1;
    };
    await this.must('Cleaning', clean, countLines);
    if (inSubmodules) {
      await this.must(
        'Cleaning',
        ['submodule', '--quiet', 'foreach', '--recursive', `git ${clean.join(' ')}`],
        countLines,
      );
    }
    return count;
  }

  /** Bytes of the repository's objects on disk. */
  async storedBytes(): Promise<number> {
    const { stdout } = await this.git(['count-objects', '-v']);
    const kibibytes = [...stdout.matchAll(/^(?:size|size-pack): (\d+)$/gm)].map(([, text]) => Number(text));
    return kibibytes.reduce((sum, value) => sum + value, 0) * 1024;
  }

  /** Collects what is no longer reachable, once there is enough of it. That it fails is no failure of a sync. */
  async collect(): Promise<void> {
    await this.git(['gc', '--auto', '--quiet']);
  }

  async git(args: readonly string[], onStdout?: (bytes: Buffer) => void): Promise<GitOutput> {
    const { dir, key, gitPath, timeoutMs, protocols, trustEnv, progress } = this.#options;
    const env = gitEnvironment(process.env, {
      GIT_ALLOW_PROTOCOL: protocols,
      // A repository that is damaged must not be taken for the one that the root may lie in.
      GIT_CEILING_DIRECTORIES: dirname(dir),
      [workspaceKeyVariable]: key,
      ...trustEnv,
    });
    return runGit({
      gitPath,
      args: [...gitSettings, '-C', dir, ...args],
      env,
      signal: this.#signal,
      timeoutMs,
      onStderr: (bytes) => progress.read(bytes),
      ...(onStdout === undefined ? {} : { onStdout }),
    });
  }

  async must(doing: string, args: readonly string[], onStdout?: (bytes: Buffer) => void): Promise<GitOutput> {
    const output = await this.git(args, onStdout);
    if (output.exitCode !== 0) throw this.#failure(doing, output.stderr);
    return output;
  }

  #failure(doing: string, stderr: string): Error {
    const error = gitError(doing, this.#options.source, stderr);
    return error.code === 'GIT_DISK_FULL' || !damage.test(stderr) ? error : new WorkspaceBroken(error);
  }

  /** The full ref that a name means at the source: a tag before a branch, as git has it. */
  async #refOf(name: string): Promise<string> {
    const { source } = this.#options;
    const candidates =
      name === 'HEAD' || name.startsWith('refs/') ? [name] : [`refs/tags/${name}`, `refs/heads/${name}`];
    const output = await this.git(['ls-remote', '--quiet', '--', source.url, ...candidates]);
    if (output.exitCode !== 0) throw gitError('Asking', source, output.stderr);
    // A pattern of ls-remote matches the ends of other names as well.
    const there = new Set(output.stdout.split('\n').map((line) => line.split('\t')[1]));
    const found = candidates.find((candidate) => there.has(candidate));
    if (found !== undefined) return found;
    throw revisionUnknown(name, source);
  }

  async #fetchRef(ref: string, depth: number | undefined, isShallow: boolean): Promise<void> {
    const { source } = this.#options;
    const history = depth === undefined ? (isShallow ? ['--unshallow'] : []) : [`--depth=${depth}`];
    const args = [
      'fetch',
      '--progress',
      '--force',
      '--no-tags',
      '--update-shallow',
      '--no-write-fetch-head',
      ...history,
    ];
    const output = await this.git([...args, '--', source.url, `+${ref}:${targetRef}`]);
    if (output.exitCode === 0) return;
    // It was there when it was asked for: deleted since, or a commit that the source does not give.
    if (isMissingRef(output.stderr)) throw revisionUnknown(ref, source);
    throw this.#failure('Fetching', output.stderr);
  }

  async #commit(name: string): Promise<string | undefined> {
    const args = ['rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`];
    const { exitCode, stdout } = await this.git(args);
    return exitCode === 0 ? stdout.trim() : undefined;
  }

  /** The folder of a submodule that the commit does not have would stay, and hide files of the same name. */
  async #removeStaleSubmodules(commit: string): Promise<void> {
    const { dir } = this.#options;
    if (!(await exists(join(this.gitDir, 'modules')))) return;
    const present = await this.#submodulePaths(['ls-files', '-z', '--stage']);
    if (present.size === 0) return;
    const wanted = await this.#submodulePaths(['ls-tree', '-r', '-z', commit]);
    for (const path of present) {
      if (wanted.has(path) || !(await leadsThroughFolders(dir, path))) continue;
      await removeWorkingCopy(join(dir, path));
    }
  }

  async #submodulePaths(args: readonly string[]): Promise<Set<string>> {
    const paths = new Set<string>();
    await this.#records(args, (record) => {
      if (record.startsWith(`${submoduleMode} `)) paths.add(record.slice(record.indexOf('\t') + 1));
    });
    return paths;
  }

  /** Reads records that end in NUL, as many as there are. */
  async #records(args: readonly string[], each: (record: string, index: number) => void): Promise<void> {
    let rest = Buffer.alloc(0);
    let index = 0;
    const read = (bytes: Buffer): void => {
      let data = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
      for (let end = data.indexOf(0); end !== -1; end = data.indexOf(0)) {
        each(data.toString('utf8', 0, end), index);
        index += 1;
        data = data.subarray(end + 1);
      }
      rest = Buffer.from(data);
    };
    await this.must('Reading', args, read);
  }

  async #folder(name: string): Promise<void> {
    const path = join(this.gitDir, name);
    const stats = await lstat(path).catch(() => undefined);
    if (stats !== undefined && !stats.isDirectory()) await rm(path, { force: true });
    await mkdir(path, { recursive: true });
  }

  async #write(name: string, text: string): Promise<void> {
    const path = join(this.gitDir, name);
    try {
      // Renamed into place: neither half of a file, nor through a link.
      await writeFile(`${path}.new`, text, { mode: 0o600 });
      await rename(`${path}.new`, path);
    } catch (error) {
      if (!['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      throw new DroverError({
        code: 'GIT_DISK_FULL',
        advice: 'exhausted',
        message: `Making ${this.#options.dir} failed: there is no space left on this machine`,
        cause: error,
      });
    }
  }
}

function configOf({ shownUrl }: GitSource): string {
  const url = shownUrl.replace(/["\\]/g, '\\$&');
  return [
    '[core]',
    '\trepositoryformatversion = 0',
    '\tbare = false',
    '\tlogAllRefUpdates = false',
    '\tsparseCheckout = true',
    '\tsparseCheckoutCone = false',
    '[remote "origin"]',
    `\turl = "${url}"`,
    '',
  ].join('\n');
}

/** True if the path is there and nothing on the way, itself included, is a link. */
async function leadsThroughFolders(dir: string, path: string): Promise<boolean> {
  let at = dir;
  for (const name of path.split('/')) {
    if (name === '' || name === '.' || name === '..') return false;
    at = join(at, name);
    if ((await lstat(at).catch(() => undefined))?.isDirectory() !== true) return false;
  }
  return true;
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
