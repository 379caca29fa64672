import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { debianPackages, debianProgram } from './debian-programs.ts';

/** QEMU and a kernel for its guests. */
export interface DebianMachine {
  readonly qemu: {
    readonly path: string;
    readonly env: Readonly<Record<string, string>>;
    readonly firmwareFolders: readonly string[];
  };
  readonly kernel: string;
  readonly modules: readonly string[];
}

/** Debian's QEMU and the kernel that it makes for clouds; undefined where they cannot be had. */
export async function debianMachine(signal: AbortSignal): Promise<DebianMachine | undefined> {
  const program = await debianProgram('qemu-system-x86_64', 'qemu-system-x86', signal);
  const kernels = await debianPackages(['linux-image-cloud-amd64'], 'with-needs', signal);
  if (program === undefined || kernels === undefined) return undefined;
  const version = readdirSync(join(kernels, 'lib/modules'))[0]!;
  const drivers = join(kernels, 'lib/modules', version, 'kernel/drivers');
  const root = program.path.slice(0, -'/usr/bin/qemu-system-x86_64'.length);
  return {
    qemu: {
      ...program,
      firmwareFolders: ['usr/share/qemu', 'usr/share/seabios'].map((name) => join(root, name)),
    },
    kernel: join(kernels, 'boot', `vmlinuz-${version}`),
    modules: [
      'virtio/virtio_ring.ko',
      'virtio/virtio.ko',
      'virtio/virtio_mmio.ko',
      'block/virtio_blk.ko',
      'char/virtio_console.ko',
    ].map((name) => join(drivers, name)),
  };
}

/** Fills a folder with the smallest root file system that runs shell scripts; false where busybox cannot be had. */
export async function makeBusyboxRoot(folder: string, signal: AbortSignal): Promise<boolean> {
  const packages = await debianPackages(['busybox-static'], 'alone', signal);
  if (packages === undefined) return false;
  for (const name of ['bin', 'usr/bin', 'etc', 'proc', 'sys', 'dev', 'run', 'tmp']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  const busybox = ['bin/busybox', 'usr/bin/busybox'].map((name) => join(packages, name)).find(existsSync)!;
  cpSync(busybox, join(folder, 'bin/busybox'));
  for (const name of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (name === 'busybox') continue;
    symlinkSync('busybox', join(folder, 'bin', name));
    symlinkSync('../../bin/busybox', join(folder, 'usr/bin', name));
  }
  return true;
}
