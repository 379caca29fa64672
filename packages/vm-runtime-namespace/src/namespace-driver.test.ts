import { builtAgent, debianProgram } from '@drover/sandbox-test-parts';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createNamespaceDriver } from './index.ts';

const signal = AbortSignal.timeout(120_000);
const agent = await builtAgent(signal);
const bubblewrap = await debianProgram('bwrap', 'bubblewrap', signal);
const isRoot = process.getuid?.() === 0;

describe.skipIf(agent === undefined || bubblewrap === undefined || !isRoot)(
  'sandboxes of namespaces [limits:namespace-sandboxes]',
  () => {
    const stateDir = mkdtempSync(join(tmpdir(), 'drover-namespace-'));
    let driver: SandboxDriver;
    let image: PreparedImage;

    beforeAll(async () => {
      driver = await createNamespaceDriver({ stateDir, agent: agent!, bubblewrap: bubblewrap!.path });
      const unpacked = { digest: `sha256:${'0'.repeat(64)}`, folder: '/', entries: [], sizeBytes: 0 };
      image = await driver.prepareImage(unpacked, signal);
    });
    afterAll(async () => {
      await driver?.[Symbol.asyncDispose]();
      rmSync(stateDir, { recursive: true, force: true });
    });

    for (const { name, run } of sandboxCases) test(name, { timeout: 60_000 }, () => run({ driver, image }));
  },
);
