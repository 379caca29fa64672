import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { createNamespaceDriver } from './index.ts';

const agent = process.env['DROVER_VM_AGENT'] ?? '/tmp/i5/agent';
const stateDir = mkdtempSync(join(tmpdir(), 'drover-namespace-'));
let driver: SandboxDriver;
let image: PreparedImage;

beforeAll(async () => {
  driver = await createNamespaceDriver({ stateDir, agent });
  const unpacked = { digest: `sha256:${'0'.repeat(64)}`, folder: '/', entries: [], sizeBytes: 0 };
  image = await driver.prepareImage(unpacked, new AbortController().signal);
});
afterAll(async () => {
  await driver?.[Symbol.asyncDispose]();
  rmSync(stateDir, { recursive: true, force: true });
});

describe('sandboxes of namespaces', () => {
  for (const { name, run } of sandboxCases) test(name, { timeout: 60_000 }, () => run({ driver, image }));
});
