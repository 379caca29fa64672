import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

/** A workspace of its own whose command "generate" is a script of the test. */
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'drover-launch-'));
  const tool = dirname(import.meta.dirname);
  for (const file of ['launch.mjs', 'install.mjs', 'run.mjs', 'lifeline.mjs']) {
    await cp(join(tool, file), join(root, 'tools/launch', file));
  }
  await mkdir(join(root, 'tools/checks/src'), { recursive: true });
  await writeLock({});
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A workspace with one package of its own, so that there is something to install, and `dependencies` from a registry. */
async function writeLock(dependencies: Record<string, string>): Promise<void> {
  const manifest = { name: 'fixture', version: '1.0.0', type: 'module', workspaces: ['packages/*'], dependencies };
  const own = { name: 'own', version: '1.0.0' };
  const packages = {
    '': manifest,
    'packages/own': own,
    'node_modules/own': { resolved: 'packages/own', link: true },
    ...Object.fromEntries(Object.entries(dependencies).map(([name, version]) => [`node_modules/${name}`, { version }])),
  };
  await mkdir(join(root, 'packages/own'), { recursive: true });
  await writeFile(join(root, 'packages/own/package.json'), JSON.stringify(own));
  await writeFile(join(root, 'package.json'), JSON.stringify(manifest));
  await writeFile(
    join(root, 'package-lock.json'),
    JSON.stringify({ name: 'fixture', version: '1.0.0', lockfileVersion: 3, requires: true, packages }),
  );
}

interface Launched {
  readonly child: ChildProcess;
  readonly nextLine: () => Promise<string>;
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; errors: string }>;
}

async function launch(script: string, args: string[] = [], env: Record<string, string> = {}): Promise<Launched> {
  await writeFile(join(root, 'tools/checks/src/generate.ts'), script);
  const child = spawn(process.execPath, [join(root, 'tools/launch/launch.mjs'), 'generate', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  let errors = '';
  child.stderr!.on('data', (chunk) => (errors += String(chunk)));
  const lines = createInterface({ input: child.stdout! });
  return {
    child,
    nextLine: async () => ((await once(lines, 'line')) as [string])[0],
    ended: once(child, 'close').then(([status, signal]) => ({
      status: status as number | null,
      signal: signal as NodeJS.Signals | null,
      errors,
    })),
  };
}

/** A process that ended but was not reaped by its new parent is not alive. */
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    const stat = process.platform === 'linux' ? readFileSync(`/proc/${pid}/stat`, 'utf8') : '';
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
};

test('installs on the first run only, hands over arguments and environment, and keeps the exit status', async () => {
  const script = `
    console.log(JSON.stringify({ args: process.argv.slice(2), conditions: process.execArgv, cwd: process.cwd(),
      trusted: process.env.GIT_CONFIG_VALUE_0, path: process.env.PATH.split(':')[0] }));
    process.exitCode = 7;`;
  const first = await launch(script, ['--json', 'a b'], { GIT_CONFIG_COUNT: '0' });
  expect(JSON.parse(await first.nextLine())).toMatchObject({
    args: ['--json', 'a b'],
    conditions: expect.arrayContaining(['--conditions=@drover/source']) as unknown,
    cwd: root,
    trusted: root,
    path: join(root, 'node_modules/.bin'),
  });
  const firstEnd = await first.ended;
  expect(firstEnd.status).toBe(7);
  expect(firstEnd.errors).toMatch(/Installing packages.*\nInstalled in \d+ s\.\n/s);

  const second = await launch(script);
  expect(await second.ended).toMatchObject({ status: 7, errors: '' });
});

test('installs again when the lock file changed', async () => {
  const first = await launch('');
  expect((await first.ended).status).toBe(0);
  await writeLock({ 'not-there': '1.0.0' });
  const second = await launch('', [], { npm_config_registry: 'http://127.0.0.1:9', npm_config_fetch_retries: '0' });
  const end = await second.ended;
  expect(end.status).toBe(1);
  expect(end.errors).toContain('The npm registry cannot be reached, and the packages are not installed yet.');
  // The broken-off install does not count as one.
  const third = await launch('', [], { npm_config_registry: 'http://127.0.0.1:9', npm_config_fetch_retries: '0' });
  expect((await third.ended).status).toBe(1);
});

test('a command that does not exist lists those that do', async () => {
  const child = spawn(process.execPath, [join(root, 'tools/launch/launch.mjs'), 'toString'], { stdio: 'pipe' });
  let errors = '';
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  expect(await once(child, 'close')).toEqual([2, null]);
  const manifest = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  const launched = Object.values(manifest.scripts).flatMap((line) => /launch\.mjs (\S+)$/.exec(line)?.[1] ?? []);
  expect(launched).toContain('test');
  expect(errors).toBe(`Unknown command "toString". One of: ${launched.join(', ')}.\n`);
});

const signalCounter = `
  let count = 0;
  process.on('SIGINT', () => console.log('SIGINT ' + ++count));
  process.on('SIGTERM', () => { console.log('SIGTERM'); clearInterval(timer); process.disconnect?.(); });
  const timer = setInterval(() => undefined, 1000);
  console.log(process.pid);`;

test('passes a signal on once, however many of us were told, and waits for the command', async () => {
  const { child, nextLine, ended } = await launch(signalCounter);
  await nextLine();
  // On Ctrl+C both the terminal and npm signal the launcher.
  child.kill('SIGINT');
  child.kill('SIGINT');
  expect(await nextLine()).toBe('SIGINT 1');
  child.kill('SIGTERM');
  expect(await nextLine()).toBe('SIGTERM');
  expect(await ended).toMatchObject({ status: 0 });
});

test('a launcher that is killed takes the command with it', async () => {
  const { child, nextLine } = await launch(signalCounter);
  const pid = Number(await nextLine());
  child.kill('SIGKILL');
  expect(await nextLine()).toBe('SIGTERM');
  await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { interval: 5 });
});

test('what the command left running is ended, and a signal that ends it shows in the status', async () => {
  const { nextLine, ended } = await launch(`
    import { spawn } from 'node:child_process';
    const left = spawn('sleep', ['1000'], { stdio: 'ignore' });
    console.log(left.pid);
    process.kill(process.pid, 'SIGKILL');`);
  const left = Number(await nextLine());
  expect(await ended).toMatchObject({ status: 137 });
  await vi.waitFor(() => expect(isAlive(left)).toBe(false), { interval: 5 });
});

test('two launchers at once install once', async () => {
  const both = await Promise.all([launch(''), launch('')]);
  const ends = await Promise.all(both.map(({ ended }) => ended));
  expect(ends.map(({ status }) => status)).toEqual([0, 0]);
  expect(ends.filter(({ errors }) => errors.includes('Installed in'))).toHaveLength(1);
  await expect(readFile(join(root, '.drover/install.lock'))).rejects.toMatchObject({ code: 'ENOENT' });
});
