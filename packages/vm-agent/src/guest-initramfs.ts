import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { cpioArchive } from './cpio-archive.ts';

/** What a guest is started with. */
export interface GuestKernel {
  /** A bzImage or vmlinux of Linux with ext4 built in. */
  readonly kernel: string;
  /**
   * Modules to load before anything, in order, as far as they are not built in: virtio_ring, virtio, virtio_mmio, virtio_blk, and what
   * carries the agent's stream (virtio_console, or vsock and its transport).
   */
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
