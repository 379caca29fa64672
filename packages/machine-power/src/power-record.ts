import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';

/** What an attempt has done to its machine, kept in its folder: it outlives the machine's restart. */
export interface PowerRecord {
  /** Of the machine when the attempt's handler started. */
  readonly bootId: string;
  /** When the command was given, by the machine's clock; absent while it was not. */
  readonly commandedAtMs?: number;
}

const fileName = 'power.json';

/**
 * Reads what an earlier process kept; undefined if it kept nothing, and so did nothing. Throws if that cannot be told: the
 * command may have been given, and must not be given again.
 */
export async function readPowerRecord(dir: string): Promise<PowerRecord | undefined> {
  const path = join(dir, fileName);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const { bootId, commandedAtMs } = parsed(text);
  if (typeof bootId !== 'string') throw new Error(`${path} is not whole: it says neither that nor what was done`);
  return typeof commandedAtMs === 'number' ? { bootId, commandedAtMs } : { bootId };
}

function parsed(text: string): Partial<PowerRecord> {
  try {
    return (JSON.parse(text) ?? {}) as Partial<PowerRecord>;
  } catch {
    return {};
  }
}

/** Keeps a record; resolves when it is on disk, whatever happens to the machine next. */
export async function writePowerRecord(dir: string, record: PowerRecord): Promise<void> {
  const path = join(dir, fileName);
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(JSON.stringify(record));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncFolder(dir);
}

/** A rename is on disk when its folder is; Windows knows no such thing and needs none. */
async function syncFolder(dir: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dir, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
