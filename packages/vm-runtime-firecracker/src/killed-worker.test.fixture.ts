// A process that starts a machine and is killed: what it leaves is found by the next.
import { randomUUID } from 'node:crypto';
import type { UnpackedImage } from '@drover/vm-runtime';
import { createFirecrackerDriver, type FirecrackerDriverOptions } from './index.ts';

const { options, image } = JSON.parse(process.argv[2]!) as { options: FirecrackerDriverOptions; image: UnpackedImage };
const { signal } = new AbortController();
const driver = await createFirecrackerDriver(options);
const prepared = await driver.prepareImage(image, signal);
const sandbox = await driver.start(
  {
    ...{ id: randomUUID(), tenant: 'acme', image: prepared, vcpus: 1, memoryBytes: 128 * 1024 * 1024 },
    ...{ diskBytes: 1024 * 1024, processesMax: 16, lifetimeMs: 600_000 },
  },
  signal,
);
console.log(sandbox.id);
