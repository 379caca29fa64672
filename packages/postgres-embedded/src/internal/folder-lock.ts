import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { embeddedPostgresError, systemCode } from './errors.ts';
import { processFacts } from './process-identity.ts';

/** Held by the one process that may start, stop or replace the Postgres of a folder. */
export interface FolderLock {
  /** Gives the folder back; harmless when called again. */
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number;
  readonly identity: string;
  readonly nonce: string;
}

const lockAttemptsMax = 20;

/**
 * Takes the folder for this process. A lock whose process is gone (killed, machine restarted, pid reused) is replaced.
 *
 * @throws `EMBEDDED_POSTGRES_IN_USE` with the pid of the process that holds the folder, this one included.
 */
export async function lockFolder(dir: string): Promise<FolderLock> {
  const path = join(dir, 'owner.json');
  const nonce = randomUUID();
  const own: Owner = { pid: process.pid, identity: processFacts(process.pid)?.identity ?? 'unknown', nonce };
  const draft = join(dir, `owner-${nonce}.tmp`);
  await writeFile(draft, JSON.stringify(own), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < lockAttemptsMax; attempt += 1) {
      // A hard link appears complete or not at all, and fails if the name exists: two starters cannot both succeed.
      if (await linkIfAbsent(draft, path)) return { release: () => releaseLock(path, nonce) };
      const holder = await readOwner(path);
      if (holder === undefined) continue;
      if (processFacts(holder.pid)?.identity === holder.identity) {
        throw embeddedPostgresError(
          'EMBEDDED_POSTGRES_IN_USE',
          `The embedded Postgres in ${dir} is in use by process ${holder.pid}` +
            `${holder.pid === process.pid ? ' (this one)' : ''}; stop that process or choose another folder.`,
          { dataDir: dir, pid: holder.pid },
        );
      }
      await removeStale(path, join(dir, `owner-${nonce}.stale`), holder);
    }
  } finally {
    await rm(draft, { force: true });
  }
  throw embeddedPostgresError(
    'EMBEDDED_POSTGRES_IN_USE',
    `Many processes want the embedded Postgres in ${dir} at once.`,
    {
      dataDir: dir,
    },
  );
}

async function linkIfAbsent(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Absent when there is no lock; a lock that cannot be read as one counts as held by nobody. */
async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    try {
      return JSON.parse(text) as Owner;
    } catch {
      return { pid: 0, identity: '', nonce: text };
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Moves the lock away, looks at what it moved, and puts it back if another starter's fresh lock was there by now. */
async function removeStale(path: string, aside: string, judged: Owner): Promise<void> {
  try {
    await rename(path, aside);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  if ((await readOwner(aside))?.nonce !== judged.nonce) await linkIfAbsent(aside, path);
  await rm(aside, { force: true });
}

async function releaseLock(path: string, nonce: string): Promise<void> {
  if ((await readOwner(path))?.nonce === nonce) await rm(path, { force: true });
}
