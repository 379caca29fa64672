import { createMemoryContentStore } from '@drover/content-store';
import { createResourceLedger } from '@drover/resource-ledger';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createHerdJobRunner } from './create-herd-job-runner.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'herd-crash-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);
const parentOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[1]);

test('after kill -9 of an agent and its helper, the next ends their processes, removes their folders and works', async () => {
  const stateDir = join(dir, 'state');
  // One leaves its group, one drops its environment.
  const script = `setsid sleep 61 & echo $! > ${dir}/away; env -i sleep 62 & echo $! > ${dir}/bare; echo $$ > ${dir}/first; wait`;
  const child = new URL('./herd-agent.test.child.ts', import.meta.url).pathname;
  const agent = spawn(process.execPath, ['--conditions=@drover/source', child, stateDir, script], { stdio: 'ignore' });
  await vi.waitFor(() => expect(readFileSync(join(dir, 'first'), 'utf8')).toMatch(/\n/), 10_000);
  const pids = ['first', 'away', 'bare'].map((name) => Number(readFileSync(join(dir, name), 'utf8')));
  expect(readdirSync(join(stateDir, 'jobs'))).toEqual(['job-1']);
  const helper = parentOf(pids[0]!);
  agent.kill('SIGSTOP');
  if (helper !== agent.pid) process.kill(helper, 'SIGKILL');
  agent.kill('SIGKILL');
  await once(agent, 'exit');
  expect(pids.map(isAlive)).toEqual([true, true, true]);

  const content = createMemoryContentStore({ sizeBytesMax: 1e6 });
  const ledger = createResourceLedger({ total: { cores: 1 }, leasesMax: 1 });
  await using runner = await createHerdJobRunner({ stateDir, slots: 1 }, { content, ledger });
  expect(pids.map(isAlive)).toEqual([false, false, false]);
  expect(readdirSync(join(stateDir, 'jobs'))).toEqual([]);
  expect(runner.standing()).toEqual({ slotsTotal: 1, slotsFree: 1, open: true });
});
