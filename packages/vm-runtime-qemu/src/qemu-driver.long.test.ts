import { builtAgent, debianMachine, makeBusyboxRoot } from '@drover/sandbox-test-parts';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createQemuDriver } from './index.ts';

const signal = AbortSignal.timeout(300_000);
const agent = await builtAgent(signal);
const machine = await debianMachine(signal);
const folder = mkdtempSync(join(tmpdir(), 'dq-'));
const hasRoot = await makeBusyboxRoot(join(folder, 'root'), signal);

describe.skipIf(agent === undefined || machine === undefined || !hasRoot)(
  'machines of QEMU [limits:qemu-machines]',
  () => {
    let driver: SandboxDriver;
    let image: PreparedImage;

    beforeAll(async () => {
      driver = await createQemuDriver({ stateDir: join(folder, 's'), agent: agent!, ...machine! });
      const unpacked = {
        digest: `sha256:${'0'.repeat(64)}`,
        folder: join(folder, 'root'),
        entries: [],
        sizeBytes: 4_000_000,
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
