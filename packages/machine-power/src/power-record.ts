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

/** Reads what an earlier process kept; undefined if there is nothing that can be read. */
export async function readPowerRecord(dir: string): Promise<PowerRecord | undefined> {
  try {
    const { bootId, commandedAtMs } = JSON.parse(await readFile(join(dir, fileName), 'utf8')) as Partial<PowerRecord>;
    if (typeof bootId !== 'string') return undefined;
    return typeof commandedAtMs === 'number' ? { bootId, commandedAtMs } : { bootId };
  } catch {
    return undefined;
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
