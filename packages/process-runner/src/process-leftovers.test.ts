import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { keyDigest, type JournalEntry } from './process-journal.ts';
import { markerOf, processKeyVariable } from './process-marker.ts';
import { createProcessRunner, type ProcessRunner } from './process-runner.ts';
import { isProcessAlive, readBootId, readProcessRow } from './process-table.ts';
import { tailSpool } from './tail-spool.ts';

const never = new AbortController().signal;
const children: ChildProcess[] = [];
const runners: ProcessRunner[] = [];
let dir: string;
let stateDir: string;
let spoolPath: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-leftovers-'));
  stateDir = join(dir, 'state');
  spoolPath = join(dir, 'out.log');
});

afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.stop()));
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

function newRunner(cgroupParent = 'auto'): ProcessRunner {
  const runner = createProcessRunner({ stateDir, cgroupParent, pollMs: 20 });
  runners.push(runner);
  return runner;
}

/** A second Node process with a runner of its own, which starts one process and tells its pid. */
async function startAgent(
  script: string,
  cgroupParent: string,
): Promise<{ agent: ChildProcess; pid: number; startTime: number }> {
  const source = `
    import { createProcessRunner } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)};
    const runner = createProcessRunner({ stateDir: ${JSON.stringify(stateDir)}, cgroupParent: '${cgroupParent}' });
    const { pid, startTime } = await runner.start({
      key: 'lease-1/1/build', exe: 'sh', args: ['-c', ${JSON.stringify(script)}], env: { PATH: process.env.PATH },
      cwd: ${JSON.stringify(dir)}, spoolPath: ${JSON.stringify(spoolPath)}, cancelGraceMs: 1000,
    }, new AbortController().signal);
    process.stdout.write(JSON.stringify({ pid, startTime }));`;
  const args = ['--conditions=@drover/source', '--input-type=module', '-e', source];
  const agent = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(agent);
  const [line] = (await once(agent.stdout!, 'data')) as [Buffer];
  return { agent, ...(JSON.parse(line.toString()) as { pid: number; startTime: number }) };
}

async function killHard(agent: ChildProcess): Promise<void> {
  agent.kill('SIGKILL');
  await once(agent, 'exit');
}

const lines = () => readFileSync(spoolPath, 'utf8').trimEnd().split('\n').map(Number);
const countsUp = 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.002; done';

describe.each(['auto', 'none'])('an agent that was killed, with cgroups %s', (cgroupParent) => {
  test('loses no byte of output, and the next one finds and ends the tree', async () => {
    const { agent, pid, startTime } = await startAgent(
      `setsid sh -c 'while :; do sleep 0.05; done' & ${countsUp}`,
      cgroupParent,
    );
    await vi.waitFor(() => expect(lines().length).toBeGreaterThan(20));
    await killHard(agent);
    const before = lines().length;
    await vi.waitFor(() => expect(lines().length).toBeGreaterThan(before + 20));
    expect(isProcessAlive({ pid, startTime })).toBe(true);

    const runner = newRunner(cgroupParent);
    const [leftover, ...others] = await runner.findLeftovers(never);
    expect(others).toEqual([]);
    expect(leftover).toMatchObject({ key: 'lease-1/1/build', spoolPath });
    expect(leftover?.alive).toContainEqual({ pid, startTime });
    expect(leftover!.alive.length).toBeGreaterThanOrEqual(2);
    const again = { key: 'lease-1/1/build', exe: 'true', args: [], env: {}, cwd: dir, spoolPath, cancelGraceMs: 0 };
    await expect(runner.start(again, never)).rejects.toMatchObject({ code: 'PROCESS_HAS_LEFTOVERS' });

    expect(await runner.endLeftovers('lease-1/1/build', never)).toBeGreaterThanOrEqual(2);
    for (const identity of leftover!.alive) expect(isProcessAlive(identity)).toBe(false);
    expect(await runner.findLeftovers(never)).toEqual([]);
    expect(await runner.endLeftovers('lease-1/1/build', never)).toBe(0);
    expect(lines()).toEqual(lines().map((_, index) => index));
  });

  test('whose process has ended meanwhile: told as a leftover with nothing alive', async () => {
    const { agent, pid, startTime } = await startAgent(
      'echo 0; while [ ! -e go ]; do sleep 0.01; done; echo 1',
      cgroupParent,
    );
    await killHard(agent);
    writeFileSync(join(dir, 'go'), '');
    await vi.waitFor(() => expect(isProcessAlive({ pid, startTime })).toBe(false));
    const runner = newRunner(cgroupParent);
    expect(await runner.findLeftovers(never)).toMatchObject([{ key: 'lease-1/1/build', alive: [], spoolPath }]);
    expect(await runner.endLeftovers('lease-1/1/build', never)).toBe(0);
    const chunks: Buffer[] = [];
    for await (const { bytes } of tailSpool(spoolPath, { ended: Promise.resolve(), signal: never }))
      chunks.push(Buffer.from(bytes));
    expect(Buffer.concat(chunks).toString()).toBe('0\n1\n');
    expect(await runner.findLeftovers(never)).toEqual([]);
  });
});

/** What an agent wrote before it was killed, without an agent: so that each field can be wrong on purpose. */
function writeJournal(runner: ProcessRunner, entry: Partial<JournalEntry>): void {
  expect(runner.capabilities.leftovers).toBe(true);
  const whole = { key: 'k', bootId: readBootId(), spoolPath, startedAtMs: 1, ...entry };
  writeFileSync(join(stateDir, 'processes', `${keyDigest('k')}.json`), JSON.stringify(whole));
}

function startInnocent(env: Record<string, string> = {}): { child: ChildProcess; pid: number; startTime: number } {
  const child = spawn('sleep', ['600'], {
    stdio: 'ignore',
    detached: true,
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  children.push(child);
  return { child, pid: child.pid!, startTime: readProcessRow(child.pid!)!.startTime };
}

describe('whom a journal entry names', () => {
  test('a process with the same pid and another start time is left alone', async () => {
    const runner = newRunner();
    const innocent = startInnocent();
    writeJournal(runner, { pid: innocent.pid, startTime: innocent.startTime - 1 });
    expect(await runner.findLeftovers(never)).toMatchObject([{ key: 'k', alive: [] }]);
    expect(await runner.endLeftovers('k', never)).toBe(0);
    expect(isProcessAlive(innocent)).toBe(true);
  });

  test('a process of this boot is left alone when the entry is of another', async () => {
    const runner = newRunner();
    const innocent = startInnocent();
    writeJournal(runner, { pid: innocent.pid, startTime: innocent.startTime, bootId: 'another-boot' });
    expect(await runner.endLeftovers('k', never)).toBe(0);
    expect(isProcessAlive(innocent)).toBe(true);
  });

  test('the agent died between the start of the process and the journal: the marker tells', async () => {
    const runner = newRunner();
    const runnerId = readFileSync(join(stateDir, 'runner.id'), 'latin1');
    const marked = startInnocent({ [processKeyVariable]: `outer:x;${markerOf(runnerId, 'k')}` });
    const ofOthers = startInnocent({ [processKeyVariable]: markerOf('f'.repeat(32), 'k') });
    await vi.waitFor(() => expect(readFileSync(`/proc/${marked.pid}/cmdline`, 'latin1')).toContain('sleep'));
    writeJournal(runner, {});
    const { pid, startTime } = marked;
    expect(await runner.findLeftovers(never)).toMatchObject([{ key: 'k', alive: [{ pid, startTime }] }]);
    expect(await runner.endLeftovers('k', never)).toBe(1);
    expect(isProcessAlive(marked)).toBe(false);
    expect(isProcessAlive(ofOthers)).toBe(true);
  });

  test('the journal itself is gone: the marker still tells', async () => {
    const runner = newRunner();
    const runnerId = readFileSync(join(stateDir, 'runner.id'), 'latin1');
    const marked = startInnocent({ [processKeyVariable]: markerOf(runnerId, 'a/b c') });
    const { pid, startTime } = marked;
    await vi.waitFor(async () =>
      expect(await runner.findLeftovers(never)).toEqual([{ key: 'a/b c', alive: [{ pid, startTime }] }]),
    );
    expect(await runner.endLeftovers('a/b c', never)).toBe(1);
    expect(isProcessAlive(marked)).toBe(false);
  });

  test('a file that a power cut left half written names nobody', async () => {
    const runner = newRunner();
    writeFileSync(join(stateDir, 'processes', `${keyDigest('k')}.json`), '{"key":"k","pi');
    expect(await runner.findLeftovers(never)).toEqual([]);
  });
});

test('a run of this runner is no leftover', async () => {
  const runner = newRunner();
  const request = {
    key: 'k',
    exe: 'sleep',
    args: ['600'],
    env: { PATH: process.env['PATH'] ?? '' },
    cwd: dir,
    spoolPath,
    cancelGraceMs: 0,
  };
  const running = await runner.start(request, never);
  expect(await runner.findLeftovers(never)).toEqual([]);
  await expect(runner.endLeftovers('k', never)).rejects.toMatchObject({ code: 'PROCESS_STILL_RUNNING' });
  running.cancel('enough');
  await running.result;
  expect(readdirSync(join(stateDir, 'processes'))).toEqual([]);
});
