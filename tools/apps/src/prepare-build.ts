import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { offeredPackages } from './installed-packages.ts';
import { startLoopbackRegistry, type LoopbackRegistry } from './loopback-registry.ts';
import { packWorkspace } from './pack-workspace.ts';
import { runProgram } from './run-program.ts';
import { workspaceRoot } from './workspace-root.ts';

/** What apps are built from. */
export interface PreparedBuild extends AsyncDisposable {
  readonly registry: LoopbackRegistry;
  readonly cacheDir: string;
}

/** Builds and packs the workspace's packages, and offers them with what else is installed. Disposing removes all of it. */
export async function prepareBuild(signal: AbortSignal): Promise<PreparedBuild> {
  await using parts = new AsyncDisposableStack();
  const nx = join(workspaceRoot, 'node_modules/.bin/nx');
  const env = { NX_DAEMON: 'false', NX_TUI: 'false', NX_NO_CLOUD: 'true' };
  await runProgram(nx, ['run-many', '-t', 'build', '--outputStyle=static'], { cwd: workspaceRoot, signal, env });
  const folder = await mkdtemp(join(tmpdir(), 'drover-build-'));
  parts.defer(() => rm(folder, { recursive: true, force: true }));
  const packedDir = join(folder, 'packed');
  await mkdir(packedDir);
  const registry = parts.use(await startLoopbackRegistry(offeredPackages(await packWorkspace(packedDir, signal))));
  const kept = parts.move();
  return { registry, cacheDir: join(folder, 'cache'), [Symbol.asyncDispose]: () => kept.disposeAsync() };
}
