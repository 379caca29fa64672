import { silentLogger } from '@drover/lease-kit';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createQemuDriver } from './index.ts';

const stateDir = mkdtempSync('/tmp/dq-');
let driver: SandboxDriver;
let image: PreparedImage;

beforeAll(async () => {
  const Q = '/root/.cache/drover/debian/qemu-system-x86-f2bce41a216a506c';
  const K = '/root/.cache/drover/debian/linux-image-cloud-amd64-01a6223a524429f3';
  const version = readdirSync(`${K}/lib/modules`)[0]!;
  const m = (p: string) => join(K, 'lib/modules', version, 'kernel/drivers', p);
  driver = await createQemuDriver(
    {
      stateDir,
      agent: '/tmp/i5/agent',
      kernel: `${K}/boot/vmlinuz-${version}`,
      modules: [
        'virtio/virtio_ring.ko',
        'virtio/virtio.ko',
        'virtio/virtio_mmio.ko',
        'block/virtio_blk.ko',
        'char/virtio_console.ko',
      ].map(m),
      qemu: {
        path: `${Q}/usr/bin/qemu-system-x86_64`,
        env: { LD_LIBRARY_PATH: `${Q}/usr/lib/x86_64-linux-gnu:${Q}/lib/x86_64-linux-gnu:${Q}/usr/lib` },
        firmwareFolders: [`${Q}/usr/share/qemu`, `${Q}/usr/share/seabios`],
      },
    },
    { logger: { ...silentLogger, info: (f: unknown, t: string) => console.log(t, f) } as never },
  );
  console.log(driver.isolation);
  const unpacked = { digest: `sha256:${'0'.repeat(64)}`, folder: '/tmp/i5/rootfs', entries: [], sizeBytes: 4_000_000 };
  image = await driver.prepareImage(unpacked, new AbortController().signal);
}, 120_000);
afterAll(async () => {
  await driver?.[Symbol.asyncDispose]();
  rmSync(stateDir, { recursive: true, force: true });
});

describe('machines of qemu', () => {
  for (const { name, run } of sandboxCases) test(name, { timeout: 120_000 }, () => run({ driver, image }));
});
