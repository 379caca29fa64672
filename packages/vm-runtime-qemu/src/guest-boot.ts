import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { cpioArchive } from './cpio-archive.ts';

/** What a guest is started with. */
export interface GuestKernel {
  /** A bzImage or vmlinux of Linux with ext4 built in. */
  readonly kernel: string;
  /** Modules to load before anything, in order: virtio_ring, virtio, virtio_mmio, virtio_blk, virtio_console as far as they are not built in. */
  readonly modules: readonly string[];
}

/** The file system that the kernel starts in: the agent, and the modules that it needs to reach the image's. */
export function guestInitramfs(agent: string, { modules }: GuestKernel): Buffer {
  const folders = ['proc', 'sys', 'dev', 'newroot', 'run', 'tmp'].map((name) => ({ name, mode: 0o040_755 }));
  const files = modules.map((path) => ({ name: basename(path), mode: 0o100_644, content: readFileSync(path) }));
  const list = Buffer.from(files.map(({ name }) => `/${name}\n`).join(''));
  return cpioArchive([
    ...folders,
    { name: 'init', mode: 0o100_755, content: readFileSync(agent) },
    ...files,
    { name: 'modules', mode: 0o100_644, content: list },
  ]);
}

/** What the kernel is told. */
export interface GuestCommandLine {
  readonly diskBytes: number;
  readonly processesMax: number;
  /** Speed of the host's processor, without which a kernel under emulation may wait for ever to find it out. */
  readonly cpuKhz: number | undefined;
}

/** Name of the virtio-serial port that the agent listens on. */
export const agentPort = 'drover';

/** The kernel's command line. */
export function guestCommandLine({ diskBytes, processesMax, cpuKhz }: GuestCommandLine): string {
  return [
    ...['console=ttyS0', 'quiet', 'reboot=t', 'panic=-1', 'nokaslr', 'random.trust_cpu=on'],
    ...(cpuKhz === undefined ? [] : [`tsc_early_khz=${cpuKhz}`]),
    ...['drover.root=/dev/vda', `drover.disk=${diskBytes}`, `drover.processes=${processesMax}`],
    `drover.transport=serial:${agentPort}`,
  ].join(' ');
}

/** The processor's speed as /proc/cpuinfo has it; undefined where it does not say. */
export function hostCpuKhz(cpuinfo = readFileSync('/proc/cpuinfo', 'latin1')): number | undefined {
  const mhz = /^cpu MHz\s*:\s*([\d.]+)/m.exec(cpuinfo)?.[1];
  return mhz === undefined ? undefined : Math.round(Number(mhz) * 1_000);
}
