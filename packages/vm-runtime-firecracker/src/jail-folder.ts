import { execFileSync } from 'node:child_process';
import {
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

/** Where things are in a jail, as the machine's process sees them. */
export const inJail = {
  kernel: '/kernel',
  initramfs: '/initramfs',
  drive: '/root.ext4',
  state: '/state',
  memory: '/memory',
  log: '/firecracker.log',
  metrics: '/firecracker.metrics',
  apiSocket: '/run/api.sock',
  vsockSocket: '/run/vsock.sock',
} as const;

/** The folder that the jailer makes the root of a machine's process, filled before it is started. */
export class JailFolder {
  readonly #base: string;
  readonly #run: number;
  #isOpen = true;

  /** `jails`: the jailer's base; `files`: what the process reads, by name in the jail. */
  constructor(jails: string, firecracker: string, id: string, uid: number, files: Readonly<Record<string, string>>) {
    this.#base = join(jails, basename(firecracker), id);
    const run = this.hostPath('/run');
    mkdirSync(run, { recursive: true, mode: 0o700 });
    this.#run = openSync(run, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      for (const [name, from] of Object.entries(files)) linkOrCopy(from, this.hostPath(name));
      for (const name of [inJail.log, inJail.metrics]) {
        writeFileSync(this.hostPath(name), '', { mode: 0o600 });
        chownSync(this.hostPath(name), uid, uid);
      }
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** A path in the jail as the host sees it. */
  hostPath(path: string): string {
    return join(this.#base, 'root', path);
  }

  /** A socket in the jail's `/run`, by a path that is short enough for one, wherever the jail is. */
  socketPath(path: string): string {
    return `/proc/self/fd/${this.#run}/${basename(path)}`;
  }

  /** Removes all of it, when no process is in it any more. Idempotent. */
  remove(): void {
    if (this.#isOpen) closeSync(this.#run);
    this.#isOpen = false;
    removeJail(this.#base);
  }
}

/** Ids of the jails that are there. */
export function jailsIn(jails: string, firecracker: string): string[] {
  try {
    return readdirSync(join(jails, basename(firecracker)));
  } catch {
    return [];
  }
}

/** Removes a jail with what is mounted in it. Throws if something is left. */
export function removeJail(base: string): void {
  // The jailer mounts in a namespace of its own, which ends with the process; what somebody else has mounted must not be emptied.
  for (const point of mountsBelow(base)) execFileSync('umount', ['--lazy', point], { stdio: 'ignore' });
  rmSync(base, { recursive: true, force: true });
}

function mountsBelow(base: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) =>
      (line.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8))),
    )
    .filter((point) => point.startsWith(`${base}/`))
    .reverse();
}

/** Files that nobody writes are the same file in every jail, where they are on the same disk. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EXDEV' && code !== 'EMLINK' && code !== 'EPERM') throw error;
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
  }
}
