import { createHash } from 'node:crypto';
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { embeddedPostgresError, systemCode } from './errors.ts';
import { canEnter, type ServerUser } from './server-user.ts';

/** Where the data really is and who owns the cluster. */
export interface DataPlace {
  readonly dir: string;
  /** Absent when the server runs as ourselves. */
  readonly user: ServerUser | undefined;
  readonly isRelocated: boolean;
}

/** Name of the file that is left in the wanted folder when the data had to go elsewhere. */
export const pointerFileName = 'DATA-IS-ELSEWHERE.txt';

/**
 * Makes the folder. When the server's user cannot enter the wanted one (a clone under /root), the data goes to a folder
 * of `relocationDir` whose name follows from the wanted path, so that the next start finds it again.
 *
 * @throws `EMBEDDED_POSTGRES_FOLDER_DENIED` when neither can be made or entered.
 */
export async function placeData(
  wantedDir: string,
  user: ServerUser | undefined,
  relocationDir: string,
): Promise<DataPlace> {
  const wanted = resolve(wantedDir);
  await makeFolder(wanted, user === undefined ? 0o700 : 0o711);
  if (user === undefined) return { dir: wanted, user, isRelocated: false };
  const owner = await clusterOwner(wanted, user);
  if (canEnter(wanted, owner)) return { dir: wanted, user: owner, isRelocated: false };

  const hash = createHash('sha256').update(wanted).digest('hex').slice(0, 12);
  const dir = join(relocationDir, `${basename(wanted)}-${hash}`);
  await makeFolder(relocationDir, 0o755);
  await makeFolder(dir, 0o711);
  const relocatedOwner = await clusterOwner(dir, user);
  if (!canEnter(dir, relocatedOwner)) throw denied(dir, `the user ${relocatedOwner.name} cannot enter it`);
  await writeFile(
    join(wanted, pointerFileName),
    `Postgres does not run as root, and the user ${relocatedOwner.name} cannot enter this folder.\nThe data is in:\n${dir}\n`,
  );
  return { dir, user: relocatedOwner, isRelocated: true };
}

/** The path of the cluster itself inside the folder. */
export function clusterDirOf(dir: string): string {
  return join(dir, 'cluster');
}

async function makeFolder(dir: string, mode: number): Promise<void> {
  try {
    const created = await mkdir(dir, { recursive: true });
    // The umask must not decide who reaches the data; a folder that was there keeps the mode its owner gave it.
    if (created !== undefined) await chmod(dir, mode);
  } catch (error) {
    throw denied(dir, error instanceof Error ? error.message : String(error), error);
  }
}

/** The cluster belongs to whoever it was made for: another account found today must not get a folder it cannot read. */
async function clusterOwner(dir: string, user: ServerUser): Promise<ServerUser> {
  try {
    const { uid, gid } = await stat(clusterDirOf(dir));
    return uid === 0 || uid === user.uid ? user : { name: `with id ${uid}`, uid, gid };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return user;
    throw error;
  }
}

function denied(dir: string, reason: string, cause?: unknown): Error {
  return embeddedPostgresError(
    'EMBEDDED_POSTGRES_FOLDER_DENIED',
    `The folder ${dir} cannot hold the embedded Postgres: ${reason}. Choose a folder that this user may write.`,
    { dataDir: dir },
    cause,
  );
}
