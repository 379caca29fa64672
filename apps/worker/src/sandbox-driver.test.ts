import { defaultWorkerConfig, type WorkerConfig } from '@drover/compile-service/worker';
import { isDroverError, silentLogger } from '@drover/lease-kit';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createWorkerCommand } from './index.ts';
import { createSandboxDriver } from './sandbox-driver.ts';

type Handler = WorkerConfig['runtime']['handler'];

function configOf(handler: Handler): WorkerConfig {
  const dir = mkdtempSync(join(tmpdir(), 'drover-worker-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const config = defaultWorkerConfig();
  return { ...config, runtime: { ...config.runtime, handler }, state: { ...config.state, dir } };
}
const withCode = (code: string) => expect.toSatisfy((error: unknown) => isDroverError(error, code));

test('the worker is a command with a check of its configuration', () => {
  const command = createWorkerCommand();
  expect(command.name()).toBe('worker');
  expect(command.options.map(({ long }) => long)).toContain('--check-config');
});

test.each<[Handler, string]>([
  ['runhcs-wcow-hypervisor', 'DRIVER_UNAVAILABLE'],
  ['firecracker', 'DRIVER_UNAVAILABLE'],
  ['namespace', 'AGENT_MISSING'],
])('%s is refused where it cannot be', async (handler, code) => {
  await expect(createSandboxDriver(configOf(handler), silentLogger)).rejects.toEqual(withCode(code));
});
