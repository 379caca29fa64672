import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAppConfig } from '@drover/app-config';
import { createCleanUp } from '@drover/machine-care';
import { readBootId, tryLockFile } from '@drover/process-runner';
import { expect, test } from 'vitest';
import { agentConfig } from './agent-config.ts';
import { cleanUpPlaces } from './clean-up-places.ts';

test('a clean-up removes what is old and leaves what an attempt, a provider or a process uses', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'drover-places-'));
  const logs = await mkdtemp(join(tmpdir(), 'drover-logs-'));
  const sleeper = spawn('sleep', ['600'], { stdio: 'ignore' });
  try {
    const old = (path: string, text?: string, root = dir): void => {
      const whole = join(root, path);
      mkdirSync(join(whole, '..'), { recursive: true });
      if (text === undefined) mkdirSync(whole);
      else writeFileSync(whole, text);
      const at = Date.now() / 1_000 - 30 * 86_400;
      utimesSync(whole, at, at);
    };
    for (const name of ['held.1', 'left.1']) old(`leases/attempts/${name}`);
    for (const name of ['used.git', 'unused.git', 'new-half', 'old-half']) old(`git/${name}`);
    const stat = readFileSync(`/proc/${sleeper.pid!}/stat`, 'latin1');
    const startTime = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    const record = { key: 'k', spoolPath: '/x', bootId: readBootId() };
    old('processes/processes/alive.json', JSON.stringify({ ...record, pid: sleeper.pid, startTime }));
    old('processes/processes/reused.json', JSON.stringify({ ...record, pid: sleeper.pid, startTime: startTime - 1 }));
    old('processes/processes/before.json', JSON.stringify({ ...record, bootId: 'x', pid: sleeper.pid, startTime }));
    old('processes/processes/torn.json', '{');
    old('processes/runner.id', 'x');
    old('agent/old.log', 'x', logs);
    const lock = tryLockFile(join(dir, 'git/used.lock'))!;
    const flags = { 'state.dir': dir, 'cleanup.folders': [join(logs, 'agent')] };
    const config = loadAppConfig(agentConfig, { env: {}, flags, cwd: '/' }).value;
    const folders: ReadonlySet<string>[] = [];
    await using cleanUp = createCleanUp({ places: cleanUpPlaces(config, { attemptFolders: () => folders[0] }) });
    // Before the start nobody knows what the journal proves.
    await cleanUp.run();
    expect(readdirSync(join(dir, 'leases/attempts')).sort()).toEqual(['held.1', 'left.1']);
    expect(readdirSync(join(dir, 'git')).sort()).toEqual(['used.git', 'used.lock']);
    expect(readdirSync(join(dir, 'processes/processes'))).toEqual(['alive.json']);
    expect(readdirSync(join(dir, 'processes'))).toContain('runner.id');
    expect(readdirSync(join(logs, 'agent'))).toEqual([]);
    folders.push(new Set(['held.1']));
    lock.release();
    await cleanUp.run();
    expect(readdirSync(join(dir, 'leases/attempts'))).toEqual(['held.1']);
    expect(readdirSync(join(dir, 'git'))).toEqual([]);
  } finally {
    sleeper.kill('SIGKILL');
    await once(sleeper, 'exit');
    await rm(dir, { recursive: true });
    await rm(logs, { recursive: true });
  }
});

test.each([
  ['/', /holds state\.dir/],
  ['/srv/drover', /holds state\.dir/],
  ['/srv/drover/agent', /holds state\.dir/],
  ['/srv/drover/agent/git', /is in state\.dir/],
  [homedir(), /holds the home of the user/],
])('%s is not to be cleaned', (folder, message) => {
  const flags = { 'state.dir': '/srv/drover/agent', 'cleanup.folders': [folder] };
  const config = loadAppConfig(agentConfig, { env: {}, flags, cwd: '/' }).value;
  expect(() => cleanUpPlaces(config, { attemptFolders: () => undefined })).toThrow(message);
});

test('a link to the state folder is not to be cleaned either', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'drover-clean-up-'));
  try {
    await mkdir(join(dir, 'state'));
    await symlink(join(dir, 'state'), join(dir, 'logs'));
    const flags = { 'state.dir': join(dir, 'state'), 'cleanup.folders': [join(dir, 'logs')] };
    const config = loadAppConfig(agentConfig, { env: {}, flags, cwd: '/' }).value;
    expect(() => cleanUpPlaces(config, { attemptFolders: () => undefined })).toThrow(/holds state\.dir/);
  } finally {
    await rm(dir, { recursive: true });
  }
});
