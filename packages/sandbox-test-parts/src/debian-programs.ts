import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** A program of Debian's packages, and what it needs in its environment. */
export interface DebianProgram {
  readonly path: string;
  readonly env: Readonly<Record<string, string>>;
}

const run = promisify(execFile);
const outputBytesMax = 64 * 1024 * 1024;
const quiet = { maxBuffer: outputBytesMax, env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' } };

/**
 * A program that Debian ships: the one on PATH, or else one from its package and all that this needs, downloaded by apt-get and
 * unpacked into a cache folder, as an ordinary user too. Undefined where neither can be: no apt, or no way to its archives.
 */
export async function debianProgram(
  program: string,
  packageName: string,
  signal: AbortSignal,
): Promise<DebianProgram | undefined> {
  const installed = onPath(program);
  if (installed !== undefined) return { path: installed, env: {} };
  const root = await debianPackages([packageName], 'with-needs', signal);
  if (root === undefined) return undefined;
  const folder = ['usr/bin', 'bin', 'usr/sbin', 'sbin'].map((name) => join(root, name, program)).find(existsSync);
  return folder === undefined ? undefined : { path: folder, env: environmentOf(root) };
}

/** What programs below such a folder need to find their libraries. */
function environmentOf(root: string): Readonly<Record<string, string>> {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const folders = [`usr/lib/${triplet}`, `lib/${triplet}`, 'usr/lib', 'lib'].map((name) => join(root, name));
  return { LD_LIBRARY_PATH: [...folders, process.env['LD_LIBRARY_PATH'] ?? ''].filter(Boolean).join(delimiter) };
}

/**
 * A folder with the content of packages: of these alone, or with all that they need and the machine has not. Made once and kept.
 * Undefined where they cannot be had.
 */
export async function debianPackages(
  names: readonly string[],
  extent: 'alone' | 'with-needs',
  signal: AbortSignal,
): Promise<string | undefined> {
  if (onPath('apt-get') === undefined || onPath('dpkg-deb') === undefined) return undefined;
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'drover', 'debian');
  const name = createHash('sha256')
    .update(JSON.stringify([names, extent]))
    .digest('hex')
    .slice(0, 16);
  const root = join(cache, `${names[0]!}-${name}`);
  if (existsSync(root)) return root;
  const staging = join(cache, `.new-${randomUUID()}`);
  mkdirSync(join(staging, 'root'), { recursive: true });
  try {
    const apt = await aptOptions(names[0]!, cache, signal);
    const wanted = extent === 'alone' ? names : await namesWithNeeds(names, apt, signal);
    await run('apt-get', [...apt, 'download', ...wanted], { ...quiet, cwd: staging, signal });
    for (const file of readdirSync(staging).filter((entry) => entry.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', join(staging, file), join(staging, 'root')], { ...quiet, signal });
    }
    try {
      renameSync(join(staging, 'root'), root);
    } catch (error) {
      // Another process was quicker.
      if (!existsSync(root)) throw error;
    }
    return root;
  } catch (error) {
    if (signal.aborted) throw error;
    console.error(
      `Debian's ${names.join(', ')} cannot be had: ${error instanceof Error ? error.message : String(error)}`,
    );
    return undefined;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Lists of our own where the machine has none: bringing its own up to date takes root. */
async function aptOptions(name: string, cache: string, signal: AbortSignal): Promise<readonly string[]> {
  const noLock = ['-q', '-o', 'Debug::NoLocking=1', '-o', 'APT::Sandbox::User=root'];
  if (await isKnown(name, [], signal)) return noLock;
  const lists = join(cache, 'lists');
  mkdirSync(join(lists, 'partial'), { recursive: true });
  mkdirSync(join(cache, 'archives', 'partial'), { recursive: true });
  const own = [...noLock, '-o', `Dir::State::lists=${lists}`, '-o', `Dir::Cache=${cache}`];
  if (!(await isKnown(name, own, signal))) await run('apt-get', [...own, 'update'], { ...quiet, signal });
  return own;
}

async function isKnown(name: string, options: readonly string[], signal: AbortSignal): Promise<boolean> {
  const settings = options.filter((_, index) => options[index - 1] === '-o').flatMap((value) => ['-o', value]);
  const { stdout } = await run('apt-cache', [...settings, 'policy', name], { ...quiet, signal });
  return /Candidate: (?!\(none\))/.test(stdout);
}

/** The packages, and those that they need which are not installed. */
async function namesWithNeeds(
  names: readonly string[],
  apt: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const args = [...apt, 'install', '--no-install-recommends', '--reinstall', '-y', '--simulate', ...names];
  const { stdout } = await run('apt-get', args, { ...quiet, signal });
  const found = [...stdout.matchAll(/^Inst (\S+) /gm)].map(([, name]) => name!);
  return [...new Set([...names, ...found])];
}

function onPath(program: string): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return undefined;
}
