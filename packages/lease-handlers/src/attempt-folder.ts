import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** The key of an attempt. */
export interface AttemptName {
  readonly leaseId: string;
  readonly attempt: number;
}

/** Beside the spools, whose names end otherwise. */
const secretMark = 'secrets';

/** The folder of an attempt: `work` for its handler, `logs` for its spools. Nothing is made before it is asked for. */
export class AttemptFolder {
  readonly path: string;
  #workMade = false;
  #logsMade = false;
  readonly #mayExist: boolean;

  /** `mayExist`: an earlier process may have made it. */
  constructor(root: string, name: AttemptName, mayExist: boolean) {
    this.path = join(root, folderNameOf(name));
    this.#mayExist = mayExist;
  }

  /** The handler's folder; made by the first call. */
  workDir(): string {
    const dir = join(this.path, 'work');
    if (!this.#workMade) mkdirSync(dir, { recursive: true, mode: 0o700 });
    this.#workMade = true;
    return dir;
  }

  /** The folder of the spools; made by the first call. */
  logsDir(): string {
    const dir = this.logsPath;
    if (!this.#logsMade) mkdirSync(dir, { recursive: true, mode: 0o700 });
    this.#logsMade = true;
    return dir;
  }

  get logsPath(): string {
    return join(this.path, 'logs');
  }

  /** Keeps in mind that the spools may hold secrets, also for a later process. */
  markSecret(): void {
    writeFileSync(join(this.logsDir(), secretMark), '', { mode: 0o600 });
  }

  /** True if an earlier process may have left secrets in the spools. */
  get mayHoldSecrets(): boolean {
    return this.#mayExist && existsSync(join(this.logsPath, secretMark));
  }

  /** Names of the spool files that an earlier process left. */
  async leftSpools(): Promise<readonly string[]> {
    if (!this.#mayExist || !existsSync(this.logsPath)) return [];
    return (await readdir(this.logsPath)).filter((name) => name.endsWith('.log'));
  }

  /** Removes it with all that it holds. Harmless when it was never made. */
  async remove(): Promise<void> {
    if (!this.#workMade && !this.#logsMade && !this.#mayExist) return;
    await rm(this.path, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** A lease id comes from the server and must not name a place outside: only a plain one is taken as it is. */
export function folderNameOf({ leaseId, attempt }: AttemptName): string {
  const plain = /^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$/.test(leaseId);
  return `${plain ? leaseId : `~${createHash('sha256').update(leaseId).digest('hex')}`}.${attempt}`;
}

/** Removes the folders under `root` of attempts that nobody knows; what cannot be removed stays for the next time. */
export async function removeLeftFolders(root: string, known: readonly AttemptName[]): Promise<number> {
  const keep = new Set(known.map(folderNameOf));
  let removed = 0;
  for (const name of await readdir(root).catch(() => [])) {
    if (keep.has(name)) continue;
    await rm(join(root, name), { recursive: true, force: true, maxRetries: 3 }).then(
      () => (removed += 1),
      () => undefined,
    );
  }
  return removed;
}
