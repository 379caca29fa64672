import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { embeddedPostgresError } from './errors.ts';

/** Whom the server runs as when we are root, since Postgres refuses root. */
export interface ServerUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** True when this process runs as root. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * The unprivileged account that lends its id to the server: `postgres`, else `nobody`. No account is made.
 *
 * @throws `EMBEDDED_POSTGRES_NO_USER` when the machine has neither.
 */
export function findServerUser(passwdFile = '/etc/passwd'): ServerUser {
  const rows = readFileSync(passwdFile, 'utf8').split('\n');
  for (const name of ['postgres', 'nobody']) {
    const [, , uid, gid] = rows.find((row) => row.startsWith(`${name}:`))?.split(':') ?? [];
    if (Number(uid) > 0) return { name, uid: Number(uid), gid: Number(gid) };
  }
  throw embeddedPostgresError(
    'EMBEDDED_POSTGRES_NO_USER',
    `Postgres does not run as root, and ${passwdFile} has neither a user postgres nor nobody to run it as.`,
  );
}

/** Whether `user` can enter `dir`, found by trying: modes, ACLs and mounts all count. */
export function canEnter(dir: string, user: ServerUser): boolean {
  const probe = ['-c', 'cd -- "$1"', 'sh', dir];
  return spawnSync('/bin/sh', probe, { uid: user.uid, gid: user.gid, cwd: '/', stdio: 'ignore' }).status === 0;
}
