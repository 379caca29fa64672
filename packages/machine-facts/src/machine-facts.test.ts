import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, type LogFields, type Logger } from '@drover/lease-kit';
import { isProcessAlive, type ProcessIdentity } from '@drover/process-runner';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readFactsFile } from './facts-file.ts';
import { createMachineFacts } from './machine-facts.ts';
import { probedFactsFrom, probeSystem } from './system-probe.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-facts-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const never = new AbortController().signal;

describe('a facts file', () => {
  test.each([
    [
      '# mine\n\n rack = a7 \nlicence=one\nlicence=two\nempty=\nurl=a=b',
      { rack: ['a7'], licence: ['one', 'two'], empty: [''], url: ['a=b'] },
    ],
    ['', {}],
    ['__proto__=x', JSON.parse('{"__proto__":["x"]}') as unknown],
  ])('%j is read', async (text, wanted) => {
    const path = join(folder, 'facts');
    await writeFile(path, text);
    expect(await readFactsFile(path)).toEqual(wanted);
  });

  test('that is not there says nothing', async () => expect(await readFactsFile(join(folder, 'none'))).toEqual({}));

  test.each([
    ['a=b\nnonsense', /facts:2: is no KEY=VALUE/],
    ['=x', /facts:1: is no KEY=VALUE/],
    [`${'k'.repeat(129)}=x`, /at most 128 characters/],
    [`k=${'v'.repeat(513)}`, /at most 512 characters/],
    ['k=v\n'.repeat(129), /facts:129: at most 128 facts/],
    ['k=v\n'.repeat(20_000), /more than 65536 bytes/],
  ])('%.20j is refused', async (text, message) => {
    const path = join(folder, 'facts');
    await writeFile(path, text);
    await expect(readFactsFile(path)).rejects.toThrow(message);
  });
});

describe('a probe', () => {
  test('finds the processor of this machine', async () => {
    const found = await probeSystem({ timeoutMs: 60_000 }, { clock: systemClock }, never);
    expect(found.physicalCores).toBeGreaterThan(0);
    expect(Array.isArray(found.gpus)).toBe(true);
  });

  test('that hangs is ended with what it called', async () => {
    const pidFile = join(folder, 'pid');
    const program = join(folder, 'hangs.mjs');
    await writeFile(
      program,
      `import { spawn } from 'node:child_process';
       import { renameSync, readFileSync, writeFileSync } from 'node:fs';
       const { pid } = spawn('sleep', ['600'], { stdio: 'ignore' });
       const startTime = Number(readFileSync('/proc/' + pid + '/stat', 'latin1').split(') ').at(-1).split(' ')[19]);
       writeFileSync(${JSON.stringify(`${pidFile}.next`)}, JSON.stringify({ pid, startTime }));
       renameSync(${JSON.stringify(`${pidFile}.next`)}, ${JSON.stringify(pidFile)});
       setInterval(() => undefined, 1000);`,
    );
    const wish = new AbortController();
    const probe = probeSystem({ timeoutMs: 120_000, program }, { clock: systemClock }, wish.signal);
    probe.catch(() => undefined);
    const called = await expect
      .poll(() => readFile(pidFile, 'utf8'), { timeout: 20_000 })
      .toContain('pid')
      .then(async () => JSON.parse(await readFile(pidFile, 'utf8')) as ProcessIdentity);
    expect(isProcessAlive(called)).toBe(true);
    wish.abort();
    await expect(probe).rejects.toMatchObject({ code: 'FACTS_PROBE_FAILED' });
    await expect.poll(() => isProcessAlive(called)).toBe(false);
  });

  test.each([
    ['setInterval(() => undefined, 1000)', /took longer than 200 ms/],
    ['process.exit(1)', /ended without an answer/],
    ["console.log('{')", /ended without an answer/],
    ["process.stdout.write('x'.repeat(1e6))", /said too much/],
  ])('that does %j fails, and says why', async (text, message) => {
    const program = join(folder, 'program.mjs');
    await writeFile(program, text);
    const timeoutMs = text.startsWith('setInterval') ? 200 : 60_000;
    await expect(probeSystem({ timeoutMs, program }, { clock: systemClock }, never)).rejects.toThrow(message);
  });

  test('is believed as far as it makes sense', () => {
    const gpu = { model: ' NVIDIA A100 ', memoryMiB: 40_960, driverVersion: '550' };
    expect(
      probedFactsFrom({
        physicalCores: -1,
        cpuVendor: '-',
        virtualization: 'KVM',
        cpuFlags: 'AVX2 fpu avx2 neon',
        gpus: [gpu, { model: '', vendor: '' }, { vendor: 'AMD', memoryMiB: 'much' }],
        distribution: 'x'.repeat(300),
      }),
    ).toEqual({
      virtualization: 'kvm',
      cpuFeatures: ['avx2', 'neon'],
      gpus: [{ model: 'NVIDIA A100', memoryBytes: 40_960 * 2 ** 20, driver: '550' }, { model: 'AMD' }],
    });
    expect(probedFactsFrom({})).toEqual({ cpuFeatures: [], gpus: [] });
  });
});

describe('the facts of a machine', () => {
  test('are there at once, and what takes longer comes in later', async () => {
    const factsFile = join(folder, 'facts');
    await writeFile(factsFile, 'rack=a7\nosfamily=mine');
    await using facts = createMachineFacts({ stateDir: folder, factsFile, refreshMs: 3_600_000 });
    const heard: number[] = [];
    facts.onChange(() => heard.push(Object.keys(facts.describe().properties).length));
    expect(facts.describe()).toMatchObject({ properties: { OSFamily: expect.any(String) as string } });
    expect(facts.describe().properties).not.toHaveProperty('DiskFree');
    await facts.refresh();
    expect(facts.describe().properties).toMatchObject({ rack: ['a7'], osfamily: ['mine'] });
    expect(facts.describe().properties).not.toHaveProperty('OSFamily');
    expect(Number(facts.describe().properties['DiskFree'])).toBeGreaterThan(0);
    await facts.settled();
    expect(Number(facts.describe().properties['PhysicalCores'])).toBeGreaterThan(0);
    expect(heard.length).toBe(2);
  });

  test('follow the facts file, tell nobody where nothing changed, and keep what was good when it is wrong', async () => {
    const factsFile = join(folder, 'facts');
    const errors: LogFields[] = [];
    const logger: Logger = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (fields) => void errors.push(fields),
      child: () => logger,
    };
    await using facts = createMachineFacts({ stateDir: folder, factsFile, refreshMs: 100 }, { logger });
    await facts.refresh();
    await facts.settled();
    let heard = 0;
    facts.onChange(() => heard++);
    await facts.refresh();
    expect(heard).toBe(0);
    await writeFile(factsFile, 'rack=a7');
    await expect.poll(() => facts.describe().properties['rack'], { timeout: 5_000 }).toEqual(['a7']);
    await writeFile(factsFile, 'nonsense');
    await expect.poll(() => errors.length, { timeout: 5_000 }).toBe(1);
    await facts.refresh();
    expect(errors).toHaveLength(1);
    expect(facts.describe().properties['rack']).toEqual(['a7']);
    await rm(factsFile);
    await facts.refresh();
    expect(facts.describe().properties).not.toHaveProperty('rack');
    expect(heard).toBe(2);
  });
});
