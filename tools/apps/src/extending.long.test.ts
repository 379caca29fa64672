import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { appLayouts, buildApp } from './build-apps.ts';
import { prepareBuild } from './prepare-build.ts';
import { scriptOfPage } from './script-of-page.ts';
import { workspaceRoot } from './workspace-root.ts';

/** What was built before comes from Nx's cache; in a fresh checkout all packages are built first. */
const timeoutMs = 8 * 60_000;
/** The page itself takes about half a minute. */
const pageMsMax = 3 * 60_000;
const page = readFileSync(join(workspaceRoot, 'docs/extending/README.md'), 'utf8');

test(
  'docs/extending, word for word: a package from nowhere runs a lease in the prebuilt apps',
  async ({ signal }) => {
    await using parts = new AsyncDisposableStack();
    const dir = mkdtempSync(join(tmpdir(), 'drover-extending-'));
    parts.defer(() => rmSync(dir, { recursive: true, force: true }));
    // Root gives the embedded Postgres to another user, who must be able to pass through.
    chmodSync(dir, 0o711);
    const prepared = parts.use(await prepareBuild(signal));
    const apps = join(dir, 'apps');
    for (const name of ['server', 'agent', 'cli']) {
      const app = appLayouts[name]!;
      await buildApp(app, { ...prepared, folder: join(apps, app.name), signal });
    }
    const modules = join(dir, 'modules');
    for (const folder of ['work', 'modules', 'state']) mkdirSync(join(dir, folder));

    const url = `http://127.0.0.1:${await freePort()}`;
    const { PATH = '', HOME = dir } = process.env;
    const output = await runPage(scriptOfPage(page), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(pageMsMax)]),
      cwd: join(dir, 'work'),
      env: {
        // The Node of this test for the package's author; the apps bring their own.
        PATH: `${dirname(process.execPath)}${delimiter}${PATH}`,
        HOME,
        ...prepared.registry.env(prepared.cacheDir),
        APPS: apps,
        NO_COLOR: '1',
        DROVER_SERVER: url,
        DROVER_SERVER_STATE_DIR: join(dir, 'state'),
        DROVER_SERVER_LISTEN_PORT: new URL(url).port,
        DROVER_AGENT_SERVER_URLS: url,
        NODE_OPTIONS: `--import=${join(import.meta.dirname, 'list-modules.test.child.ts')}`,
        LOADED_MODULES_DIR: modules,
      },
    });

    // The page shows what a reader gets.
    const shown = /^```text\n([^]*?)^```$/m.exec(page)![1]!;
    expect(output).toContain(shown);
    const loaded = (app: string): string[] =>
      readFileSync(join(modules, app), 'utf8')
        .split('\n')
        .flatMap((module) => /\/@acme\/lease-type-render-frame\/dist\/(.+)$/.exec(module)?.[1] ?? [])
        .filter((module) => !module.startsWith('gen/'))
        .sort();
    expect(loaded('server')).toEqual(['index.js', 'task-source.js']);
    expect(loaded('agent')).toEqual(['index.js', 'lease-handler.js']);
    expect(loaded('cli')).toEqual(['index.js']);
  },
  timeoutMs,
);

/** Runs a script, ends what it has left in the background, and answers all that was written. Throws if it fails. */
async function runPage(
  script: string,
  options: { readonly cwd: string; readonly env: Readonly<Record<string, string>>; readonly signal: AbortSignal },
): Promise<string> {
  const file = join(options.cwd, '../page.sh');
  writeFileSync(file, `set -e\n${script}`);
  const { cwd, env, signal } = options;
  // A process group of its own, so that what it started in the background ends with it.
  const child = spawn('/bin/sh', [file], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const endGroup = (how: NodeJS.Signals): void => {
    try {
      process.kill(-child.pid!, how);
    } catch {
      // Nothing is left.
    }
  };
  const giveUp = (): void => endGroup('SIGKILL');
  signal.addEventListener('abort', giveUp);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const closed = once(child, 'close');
  const [status] = (await once(child, 'exit')) as [number | null];
  endGroup('SIGTERM');
  await closed;
  signal.removeEventListener('abort', giveUp);
  if (status !== 0) throw new Error(`the page ended with status ${status}:\n${output}`);
  return output;
}

/** A port that nobody listened on a moment ago. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
