import { builtAgent, debianProgram, makeBusyboxRoot } from '@drover/sandbox-test-parts';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';
import { sandboxCases } from '@drover/vm-runtime/testing';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync, type Stats } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeFakePrograms } from './fake-programs.test.fixture.ts';
import { createFirecrackerDriver, type FirecrackerDriverOptions } from './index.ts';
import { processesOf } from './machine-processes.ts';

const signal = AbortSignal.timeout(120_000);
const agent = await builtAgent(signal);
const bubblewrap = await debianProgram('bwrap', 'bubblewrap', signal);
const folder = mkdtempSync(join(tmpdir(), 'drover-firecracker-'));
const hasRoot = await makeBusyboxRoot(join(folder, 'root'), signal);
const isRoot = process.getuid?.() === 0;

describe.skipIf(agent === undefined || bubblewrap === undefined || !hasRoot || !isRoot)(
  'Firecracker, as a strict fake with the agent in namespaces [limits:firecracker]',
  () => {
    let driver: SandboxDriver;
    let image: PreparedImage;
    const stateDir = join(folder, 'state');
    const programs = makeFakePrograms(join(folder, 'bin'), {
      ...{ kind: 'namespaces', bubblewrap: bubblewrap?.path ?? '', agent: agent ?? '', root: join(folder, 'root') },
    });
    const options: FirecrackerDriverOptions = {
      ...{ stateDir, agent: agent ?? '', kernel: join(folder, 'kernel'), modules: [], ...programs },
      driveRate: { bytes: { size: 64 * 1024 * 1024, refillMs: 100 } },
    };
    const unpacked = {
      ...{ digest: `sha256:${'0'.repeat(64)}`, folder: join(folder, 'root'), entries: [], sizeBytes: 4_000_000 },
    };

    beforeAll(async () => {
      writeFileSync(options.kernel, 'a kernel, which namespaces do not boot');
      driver = await createFirecrackerDriver(options);
      image = await driver.prepareImage(unpacked, signal);
    });
    afterAll(async () => {
      await driver?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    });

    // Bombs are for what has a kernel of its own: the long run.
    for (const { name, run } of sandboxCases.filter((found) => !found.name.startsWith('bounds '))) {
      test.concurrent(name, { timeout: 60_000 }, () => run({ driver, image }));
    }

    const bounds = {
      ...{ tenant: 'acme', vcpus: 1, memoryBytes: 256 * 1024 * 1024, diskBytes: 64 * 1024 * 1024 },
      ...{ processesMax: 64, lifetimeMs: 600_000 },
    };
    const jails = join(stateDir, 'jails', 'firecracker');

    test('gives each machine a user of its own, and all the same memory to start from', async () => {
      await using first = await driver.start({ id: randomUUID(), image, ...bounds }, signal);
      await using second = await driver.start({ id: randomUUID(), image, ...bounds }, signal);
      const stats = [first, second].map(({ id }) => {
        const jail = readdirSync(jails).find((name) => name.endsWith(id))!;
        const at = (name: string): Stats => statSync(join(jails, jail, 'root', name));
        return {
          user: at('.').uid,
          mode: at('memory').mode & 0o777,
          owner: at('memory').uid,
          memory: at('memory').ino,
        };
      });
      expect(new Set(stats.map(({ user }) => user)).size).toBe(2);
      expect(stats.every(({ user }) => user >= 900_000)).toBe(true);
      expect(stats.every(({ mode, owner }) => mode === 0o444 && owner === 0)).toBe(true);
      expect(stats[0]!.memory).toBe(stats[1]!.memory);
    });

    test('says what Firecracker said when a machine does not start', async () => {
      const start = driver.start({ id: randomUUID(), image, ...bounds, vcpus: 33 }, signal);
      await expect(start).rejects.toMatchObject({ code: 'SANDBOX_SPEC_INVALID' });
      const none = driver.start({ id: randomUUID(), image, ...bounds, memoryBytes: 0 }, signal);
      await expect(none).rejects.toThrow(/PUT \/machine-config: 400 The memory size/);
    });

    test('ends what a killed process has left', { timeout: 60_000 }, async () => {
      const dir = join(folder, 'killed');
      const child = spawn(
        process.execPath,
        [
          '--conditions=@drover/source',
          join(import.meta.dirname, 'killed-worker.test.fixture.ts'),
          JSON.stringify({ options: { ...options, stateDir: dir }, image: unpacked }),
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
      const [jail] = readdirSync(join(dir, 'jails', 'firecracker'));
      expect(processesOf(jail!).length).toBeGreaterThan(0);
      await using next = await createFirecrackerDriver({ ...options, stateDir: dir });
      expect(await next.recover(signal)).toEqual([{ id: line.toString().trim(), outcome: 'gone', left: [] }]);
      expect(readdirSync(join(dir, 'jails', 'firecracker'))).toEqual([]);
      expect(processesOf(jail!)).toEqual([]);
    });

    test('leaves no jail behind', () => {
      expect(readdirSync(jails)).toEqual([]);
    });
  },
);
