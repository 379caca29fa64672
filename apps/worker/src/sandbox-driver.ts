import type { WorkerConfig } from '@drover/compile-service/worker';
import { DroverError, type Logger } from '@drover/lease-kit';
import type { SandboxDriver } from '@drover/vm-runtime';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** The driver that a configuration names. Throws `DRIVER_UNAVAILABLE`, `AGENT_MISSING`. */
export async function createSandboxDriver(config: WorkerConfig, logger: Logger): Promise<SandboxDriver> {
  const { handler, namespace, qemu_microvm: machine } = config.runtime;
  const stateDir = join(config.state.dir, 'sandboxes', handler);
  switch (handler) {
    case 'namespace': {
      const { createNamespaceDriver } = await import('@drover/vm-runtime-namespace');
      const { bubblewrap_bin: bubblewrap, cgroup_parent: parent, unbounded } = namespace;
      const cgroups = parent === '' ? {} : { cgroupParent: parent };
      return createNamespaceDriver({ stateDir, agent: agentOf(config), bubblewrap, unbounded, ...cgroups }, { logger });
    }
    case 'really_really_dangerous': {
      const { createUnsafeHostDriver } = await import('@drover/vm-runtime-unsafe-host');
      return createUnsafeHostDriver({ name: handler, stateDir, agent: agentOf(config) }, { logger });
    }
    case 'qemu-microvm': {
      const { createQemuDriver } = await import('@drover/vm-runtime-qemu');
      const { qemu_bin: path, firmware_dirs: firmwareFolders, kernel_image: kernel, kernel_modules: modules } = machine;
      const { accelerator, snapshots } = machine;
      const guest = { kernel, modules, qemu: { path, firmwareFolders } };
      return createQemuDriver({ stateDir, agent: agentOf(config), accelerator, snapshots, ...guest }, { logger });
    }
    case 'firecracker':
      throw unavailable(handler, 'this build has no driver for it yet; take qemu-microvm for true machines');
    default:
      throw unavailable(handler, 'not implemented on this platform');
  }
}

/** The agent's program for sandboxes of this machine. */
function agentOf({ image }: WorkerConfig): string {
  const names =
    process.arch === 'arm64'
      ? (['pause_linux_arm64', 'agent_linux_arm64'] as const)
      : (['pause_linux_amd64', 'agent_linux_amd64'] as const);
  const builtIn = join(import.meta.dirname, '..', 'bin', `drover-sandbox-agent-${process.arch}`);
  const path = names.map((name) => image[name]).find((text) => text !== '') ?? builtIn;
  if (existsSync(path)) return path;
  throw new DroverError({
    code: 'AGENT_MISSING',
    advice: 'fix-input',
    message: `there is no agent for sandboxes at ${path}: build it with "node packages/vm-agent/native/build.mjs --out FILE", and name it by image.${names[0]}`,
  });
}

function unavailable(handler: string, why: string): DroverError {
  return new DroverError({
    code: 'DRIVER_UNAVAILABLE',
    advice: 'fix-input',
    message: `runtime.handler ${handler}: ${why}`,
  });
}
