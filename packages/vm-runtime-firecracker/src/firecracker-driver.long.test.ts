import { builtAgent, debianMachine, makeBusyboxRoot } from '@drover/sandbox-test-parts';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { makeFakePrograms } from './fake-programs.test.fixture.ts';
import { createFirecrackerDriver } from './index.ts';

const signal = AbortSignal.timeout(600_000);
const agent = await builtAgent(signal);
const machine = await debianMachine(signal);
const folder = mkdtempSync(join(tmpdir(), 'dfc-'));
const hasRoot = await makeBusyboxRoot(join(folder, 'root'), signal);
const isRoot = process.getuid?.() === 0;

describe.skipIf(agent === undefined || machine === undefined || !hasRoot || !isRoot)(
  'Firecracker, as a strict fake with an emulated machine behind it [limits:firecracker]',
  () => {
    let driver: SandboxDriver;
    let image: PreparedImage;

    beforeAll(async () => {
      const { qemu, kernel, modules } = machine!;
      const programs = makeFakePrograms(join(folder, 'bin'), { kind: 'qemu', ...qemu });
      driver = await createFirecrackerDriver({
        ...{ stateDir: join(folder, 's'), agent: agent!, kernel, modules, bootMs: 120_000, ...programs },
      });
      const unpacked = {
        ...{ digest: `sha256:${'0'.repeat(64)}`, folder: join(folder, 'root'), entries: [], sizeBytes: 4_000_000 },
      };
      image = await driver.prepareImage(unpacked, signal);
    }, 120_000);
    afterAll(async () => {
      await driver?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    for (const { name, run } of sandboxCases) test(name, { timeout: 180_000 }, () => run({ driver, image }));
  },
);
