import { DroverError } from '@drover/lease-kit';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** What a server is shown, and how it is made anew. */
export interface StoredCredential {
  readonly token: string;
  /** By the wall clock. Absent: unknown, or never. */
  readonly expiresAtMs?: number;
  /** Of a sign-in with an issuer that lets it go on. */
  readonly refresh?: { readonly token: string; readonly issuer: string; readonly clientId: string };
}

/** Credentials by the origin of their server. */
type Credentials = Record<string, StoredCredential>;

/** Where credentials are kept: DROVER_CREDENTIALS, or `drover/credentials.json` in the user's folder of configuration. */
export function credentialsFile(env: Readonly<Record<string, string | undefined>>): string {
  const home = env['XDG_CONFIG_HOME'] ?? join(env['HOME'] ?? homedir(), '.config');
  return env['DROVER_CREDENTIALS'] ?? join(home, 'drover', 'credentials.json');
}

/** The credential for a server; undefined if there is none. Throws `CREDENTIALS_EXPOSED`, `CREDENTIALS_INVALID`. */
export function readCredential(file: string, origin: string): StoredCredential | undefined {
  return readAll(file)[origin];
}

/** Keeps a credential for a server, or forgets it. The file is its owner's alone, and is replaced at one go. */
export function writeCredential(file: string, origin: string, credential: StoredCredential | undefined): void {
  const { [origin]: _, ...others } = readAll(file);
  const all: Credentials = credential === undefined ? others : { ...others, [origin]: credential };
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const next = `${file}.${process.pid}`;
  try {
    writeFileSync(next, `${JSON.stringify(all, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    chmodSync(next, 0o600);
    renameSync(next, file);
  } finally {
    rmSync(next, { force: true });
  }
}

function readAll(file: string): Credentials {
  let text: string;
  try {
    // Windows has no such bits: the folder of the user is his there.
    if (process.platform !== 'win32' && (statSync(file).mode & 0o077) !== 0) {
      throw new DroverError({
        code: 'CREDENTIALS_EXPOSED',
        advice: 'fix-input',
        message: `others can read ${file}: chmod 600 it, and sign in anew if they may have`,
      });
    }
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  try {
    return JSON.parse(text) as Credentials;
  } catch {
    throw new DroverError({
      code: 'CREDENTIALS_INVALID',
      advice: 'fix-input',
      // What the parser says shows a piece of the file, and what is in it is secret.
      message: `${file} is no JSON: remove it and sign in anew`,
    });
  }
}
