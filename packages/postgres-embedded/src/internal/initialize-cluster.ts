import { randomBytes } from 'node:crypto';
import { chown, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { clusterDirOf, type DataPlace } from './data-place.ts';
import { embeddedPostgresError, systemCode } from './errors.ts';
import { clusterMajor, type PostgresBinaries } from './postgres-binaries.ts';
import { superviseProcess } from './supervised-process.ts';

/** The role that owns everything in an embedded Postgres. */
export const roleName = 'drover';

const draftPrefix = 'cluster-draft-';

/**
 * Makes the cluster if the folder has none, and returns the role's password. A crash half-way leaves a draft, which the
 * next start removes, never half a cluster. The caller holds the folder's lock.
 *
 * @throws `EMBEDDED_POSTGRES_VERSION_MISMATCH`, `EMBEDDED_POSTGRES_PASSWORD_LOST`, `EMBEDDED_POSTGRES_START_FAILED`.
 */
export async function initializeCluster(
  place: DataPlace,
  binaries: PostgresBinaries,
  options: { readonly isThrowaway: boolean; readonly signal: AbortSignal | undefined },
): Promise<string> {
  const clusterDir = clusterDirOf(place.dir);
  const passwordFile = join(place.dir, 'password');
  const major = await clusterMajor(clusterDir);
  if (major !== undefined && major !== binaries.major) {
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_VERSION_MISMATCH',
      `The data in ${place.dir} is of Postgres ${major}, the embedded one is ${binaries.version}. ` +
        `Dump it with Postgres ${major} and restore it into a new folder.`,
      { dataMajor: major, binaryMajor: binaries.major },
    );
  }
  if (major !== undefined) return await readPassword(passwordFile);

  for (const name of await readdir(place.dir)) {
    if (name.startsWith(draftPrefix)) await rm(join(place.dir, name), { recursive: true, force: true });
  }
  const password = randomBytes(24).toString('base64url');
  const draft = join(place.dir, `${draftPrefix}${randomBytes(6).toString('hex')}`);
  try {
    await runInitdb(draft, password, place, binaries, options);
    // The password goes first: a cluster without it would be locked for ever.
    await writeFile(passwordFile, password, { mode: 0o600, flush: true });
    await rename(join(draft, 'data'), clusterDir);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return password;
}

async function runInitdb(
  draft: string,
  password: string,
  place: DataPlace,
  binaries: PostgresBinaries,
  options: { readonly isThrowaway: boolean; readonly signal: AbortSignal | undefined },
): Promise<void> {
  await mkdir(draft, { mode: 0o700 });
  const passwordFile = join(draft, 'password');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (place.user !== undefined) {
    for (const path of [draft, passwordFile]) await chown(path, place.user.uid, place.user.gid);
  }
  const initdb = superviseProcess({
    command: binaries.initdb,
    args: [
      `--pgdata=${join(draft, 'data')}`,
      `--username=${roleName}`,
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The builtin provider sorts the same on every machine, whatever its C library.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--data-checksums',
      ...(options.isThrowaway ? ['--no-sync'] : []),
    ],
    user: place.user,
  });
  options.signal?.addEventListener('abort', initdb.interrupt, { once: true });
  if (options.signal?.aborted) initdb.interrupt();
  const exit = await initdb.exited;
  options.signal?.removeEventListener('abort', initdb.interrupt);
  options.signal?.throwIfAborted();
  if (exit.status !== 0) {
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_START_FAILED',
      `initdb ended with status ${exit.status ?? 'unknown'} in ${place.dir}:\n${exit.logTail.join('\n')}`,
    );
  }
}

async function readPassword(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    throw embeddedPostgresError(
      'EMBEDDED_POSTGRES_PASSWORD_LOST',
      `The file ${path} is gone, and with it the password of the data beside it; restore the file.`,
    );
  }
}
