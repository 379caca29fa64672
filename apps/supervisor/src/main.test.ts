import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installFirstVersion } from '@drover/agent-supervisor';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const flags = ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning'];
const command = (...args: readonly string[]) => [...flags, join(import.meta.dirname, 'main.ts'), ...args];

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'drover-supervisor-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

describe('a command line', () => {
  test.each([
    ['without a folder', [], 2, /^drover-supervisor: --home FOLDER is missing \(--help tells more\)\n$/],
    ['with an unknown flag', ['--hom', 'x'], 2, /Unknown option '--hom'.*--help tells more/],
    ['for a folder without a version', ['--home', '.', '--', 'agent'], 3, /\(VERSION_MISSING\)\n$/],
  ])('%s is refused with what to do', (_, args, code, said) => {
    const ended = spawnSync(process.execPath, command(...args), { cwd: home, encoding: 'utf8' });
    expect(ended).toMatchObject({ status: code, stdout: '', stderr: expect.stringMatching(said) as string });
  });

  test('with --help says what it is for', () => {
    const ended = spawnSync(process.execPath, command('--help'), { cwd: home, encoding: 'utf8' });
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    expect(ended.stdout).toMatch(/^Usage: drover-supervisor --home FOLDER -- ARGUMENTS\n/);
  });
});

test('the current version runs with the arguments behind "--"; SIGTERM drains it, and both end with 0', async () => {
  const started = join(home, 'started');
  const agent = `#!/bin/sh
trap 'exit 0' TERM
echo "$*" > ${started}.part && mv ${started}.part ${started}
while [ -d ${home} ]; do sleep 0.05; done
`;
  await installFirstVersion(home, { version: '1.0.0', bundle: ''.padEnd(64, '0') }, async (into) => {
    writeFileSync(join(into, 'run'), agent, { mode: 0o755 });
    return { entry: 'run' };
  });
  const watcher = watch(home);
  const hasStarted = new Promise<void>((resolve) => {
    watcher.on('change', (_, name) => name === 'started' && resolve());
  });
  const supervisor = spawn(process.execPath, command('--home', home, '--', 'agent', '--agent-id', 'a 1'), {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  supervisor.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = once(supervisor, 'close');
  await Promise.race([hasStarted, ended]);
  watcher.close();
  expect(readFileSync(started, 'utf8'), said).toBe('agent --agent-id a 1\n');
  supervisor.kill('SIGTERM');
  expect(await ended, said).toEqual([0, null]);
});
