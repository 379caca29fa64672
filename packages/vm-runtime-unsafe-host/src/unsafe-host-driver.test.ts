import { isDroverError } from '@drover/lease-kit';
import { builtAgent } from '@drover/sandbox-test-parts';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createUnsafeHostDriver } from './index.ts';

const signal = AbortSignal.timeout(120_000);
const agent = await builtAgent(signal);
const stateDir = mkdtempSync(join(tmpdir(), 'drover-unsafe-'));
afterAll(() => rmSync(stateDir, { recursive: true, force: true }));

test.each(['dangerous', 'really_dangerous', 'REALLY_REALLY_DANGEROUS', ''])(
  'is not to be had by the name %j',
  (name) => {
    expect(() => createUnsafeHostDriver({ name, stateDir, agent: '/bin/true' })).toThrow(
      expect.toSatisfy((error: unknown) => isDroverError(error, 'DRIVER_NAME_REQUIRED')),
    );
  },
);

describe.skipIf(agent === undefined)('the host itself [limits:namespace-sandboxes]', () => {
  let driver: SandboxDriver;
  let image: PreparedImage;

  beforeAll(async () => {
    driver = createUnsafeHostDriver({ name: 'really_really_dangerous', stateDir, agent: agent! });
    const unpacked = { digest: `sha256:${'0'.repeat(64)}`, folder: '/', entries: [], sizeBytes: 0 };
    image = await driver.prepareImage(unpacked, signal);
  });
  afterAll(async () => {
    await driver?.[Symbol.asyncDispose]();
    expect(readdirSync(stateDir)).toEqual([]);
  });

  for (const { name, needs, run } of sandboxCases) {
    if (needs === undefined) test(name, { timeout: 60_000 }, () => run({ driver, image }));
  }
});
