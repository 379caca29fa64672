import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RunCommand } from './run-command.ts';
import type { ServiceDescription } from './service-description.ts';
import { createWinswServiceManager } from './winsw-service-manager.ts';

const service: ServiceDescription = {
  name: 'drover-agent',
  title: 'Drover & agent',
  version: '1.0.0',
  command: ['C:\\Program Files\\drover\\node.exe', 'C:\\a b\\main.js', '--config', 'C:\\agent.toml'],
  environment: { A: '"<b>' },
  writableFolders: [],
  readsHomes: false,
  stopWithinMs: 60_000,
  reloads: true,
  finalExitCodes: [],
  cleanExitCodes: [],
};
const usual = { force: false, start: true };
const signal = new AbortController().signal;

let dir: string;
let state: 'NonExistent' | 'Stopped' | 'Started';
let asked: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-winsw-'));
  writeFileSync(join(dir, 'WinSW.exe'), 'program');
  state = 'NonExistent';
  asked = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Refuses what WinSW 2.12 refuses: other states, other commands, a description that is not beside it. */
const winsw: RunCommand = async ([program, verb = '', ...more]) => {
  if (verb !== 'status') asked.push(verb);
  const said = (code: number, stdout = '') => ({ code, stdout, stderr: '' });
  if (more.length > 0 || !existsSync(program.replace(/\.exe$/, '.xml')))
    return said(1, 'Unable to locate the configuration');
  switch (verb) {
    case 'status':
      return said(0, `${state}\r\n`);
    case 'install':
      if (state !== 'NonExistent') return said(1, 'already exists');
      state = 'Stopped';
      return said(0);
    case 'start':
      if (state !== 'Stopped') return said(1, 'cannot be started');
      state = 'Started';
      return said(0);
    case 'stopwait':
      if (state !== 'Started') return said(1, 'not started');
      state = 'Stopped';
      return said(0);
    case 'uninstall':
      if (state !== 'Stopped') return said(1, 'is running');
      state = 'NonExistent';
      return said(0);
    default:
      return said(1, `Unknown command: ${verb}`);
  }
};

const manager = (wrapper?: string) =>
  createWinswServiceManager(
    { folder: join(dir, 'Drover'), ...(wrapper === undefined ? {} : { wrapper }) },
    { run: winsw },
  );

test('a service is installed, looked at, changed and removed', async () => {
  const folder = join(dir, 'Drover/drover-agent');
  await manager(join(dir, 'WinSW.exe')).install(service, usual, signal);
  expect(readFileSync(join(folder, 'drover-agent.exe'), 'utf8')).toBe('program');
  expect(readFileSync(join(folder, 'drover-agent.xml'), 'utf8')).toMatch(
    /<name>Drover &amp; agent<\/name>[^]*<arguments>&quot;C:\\a b\\main\.js&quot; --config C:\\agent\.toml<[^]*value="&quot;&lt;b&gt;"[^]*<stoptimeout>60 sec</,
  );
  expect(await manager().status('drover-agent', signal)).toMatchObject({
    state: 'active',
    ours: true,
    command: [service.command[0], '"C:\\a b\\main.js" --config C:\\agent.toml'],
  });
  expect(await manager().install(service, usual, signal)).toEqual({ done: [], restartNeeded: false });
  expect(await manager().install({ ...service, stopWithinMs: 1 }, usual, signal)).toMatchObject({
    restartNeeded: true,
  });
  await manager().uninstall('drover-agent', signal);
  expect(asked).toEqual(['install', 'start', 'refresh', 'stopwait', 'uninstall']);
  expect(existsSync(join(folder, 'drover-agent.xml'))).toBe(false);
  await expect(manager().uninstall('drover-agent', signal)).rejects.toMatchObject({ code: 'SERVICE_MISSING' });
  await expect(manager().status('drover-agent', signal)).rejects.toMatchObject({ code: 'SERVICE_MISSING' });
});

test('without the program that runs services it says where to get it', async () => {
  await expect(manager().install(service, usual, signal)).rejects.toMatchObject({
    code: 'SERVICE_MANAGER_MISSING',
    message: expect.stringContaining('--wrapper') as string,
  });
  await expect(manager(join(dir, 'missing.exe')).install(service, usual, signal)).rejects.toMatchObject({
    code: 'SERVICE_INVALID',
  });
});

test('a description of somebody else is left alone', async () => {
  mkdirSync(join(dir, 'Drover/drover-agent'), { recursive: true });
  writeFileSync(join(dir, 'Drover/drover-agent/drover-agent.xml'), '<service/>');
  await expect(manager().install(service, { ...usual, force: true }, signal)).rejects.toMatchObject({
    code: 'SERVICE_NOT_OURS',
  });
});
