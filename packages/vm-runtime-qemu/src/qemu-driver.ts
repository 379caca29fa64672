import { DroverError, messageOf, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { connectSocket, guestInitramfs, GuestSandbox, type GuestConnection, type GuestKernel } from '@drover/vm-agent';
import {
  findCgroupRoot,
  KeptStates,
  RootDrives,
  type CgroupRoot,
  type Isolation,
  type PreparedImage,
  type RecoveredSandbox,
  type Sandbox,
  type SandboxCgroup,
  type SandboxDriver,
  type SandboxSpec,
  type UnpackedImage,
} from '@drover/vm-runtime';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { chooseAccelerator, type Accelerator } from './choose-accelerator.ts';
import { guestCommandLine, hostCpuKhz } from './guest-command-line.ts';
import { qemuArguments, type QemuProgram } from './qemu-command.ts';
import { QmpClient } from './qmp-client.ts';

/** What a driver of QEMU's microvm is made with. */
export interface QemuDriverOptions extends GuestKernel {
  /** The driver's own folder on a local disk; one process at a time. Short: sockets are made in it. */
  readonly stateDir: string;
  /** The agent's program, static, for the guest's processor. */
  readonly agent: string;
  /** Default: `qemu-system-x86_64` on PATH. */
  readonly qemu?: Partial<QemuProgram>;
  /** `auto` (default): KVM if a machine boots with it in time, which is tried once a start of the host, else TCG. */
  readonly accelerator?: Accelerator | 'auto';
  /** Machines are booted once and started from the state that they have then. Default true. */
  readonly snapshots?: boolean;
  /** How long a machine may take to boot. Default 60 s. */
  readonly bootMs?: number;
}

/** What it works with. */
export interface QemuDriverDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

const driverName = 'qemu-microvm';
/** What QEMU itself takes beside the machine's memory. */
const overheadBytes = 256 * 1024 * 1024;
const overheadProcesses = 64;
const saveMs = 60_000;
const goneMs = 10_000;

/**
 * Finds out what this machine lets QEMU do. Throws `DRIVER_UNAVAILABLE` where it does not start at all. With `auto`, a machine is
 * booted with KVM once: that /dev/kvm opens proves nothing.
 */
export async function createQemuDriver(options: QemuDriverOptions, deps: QemuDriverDeps = {}): Promise<SandboxDriver> {
  for (const file of [options.agent, options.kernel, ...options.modules]) {
    if (!existsSync(file)) throw unavailable(`there is no ${file}`);
  }
  mkdirSync(join(options.stateDir, 'run'), { recursive: true, mode: 0o700 });
  const initramfs = join(options.stateDir, 'initramfs');
  writeFileSync(initramfs, guestInitramfs(options.agent, options), { mode: 0o600 });
  const qemu: QemuProgram = { path: 'qemu-system-x86_64', env: {}, firmwareFolders: [], ...options.qemu };
  const { accelerator, version } = await chooseAccelerator(options.accelerator ?? 'auto', qemu, {
    kernel: options.kernel,
    initramfs,
    stateDir: options.stateDir,
  }).catch((error: unknown) => {
    throw unavailable(messageOf(error));
  });
  return new QemuDriver(options, { qemu, accelerator, version, initramfs }, deps);
}

interface Machine {
  readonly qemu: QemuProgram;
  readonly accelerator: Accelerator;
  readonly version: string;
  readonly initramfs: string;
}

class QemuDriver implements SandboxDriver {
  readonly name = driverName;
  readonly imageForm = 'folder';
  readonly snapshots: boolean;
  readonly isolation: Isolation;
  readonly #options: QemuDriverOptions;
  readonly #machine: Machine;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cgroups: CgroupRoot | undefined;
  readonly #prefix: string;
  readonly #sandboxes = new Map<string, GuestSandbox>();
  readonly #states = new KeptStates<string>();
  readonly #drives: RootDrives;
  readonly #closing = new AbortController();

  constructor(options: QemuDriverOptions, machine: Machine, deps: QemuDriverDeps) {
    this.#options = options;
    this.#machine = machine;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#cgroups = findCgroupRoot();
    this.#drives = new RootDrives(join(options.stateDir, 'images'), driverName);
    this.#prefix = `machine-${statSync(options.stateDir).ino}-`;
    this.snapshots = options.snapshots ?? true;
    this.isolation = {
      level: 'vm',
      driver: driverName,
      facts: {
        program: machine.version,
        accelerator: machine.accelerator,
        cgroup: this.#cgroups?.version ?? 'none',
        seccomp: 'qemu',
        network: 'none',
      },
    };
  }

  async prepareImage(image: UnpackedImage, signal: AbortSignal): Promise<PreparedImage> {
    return this.#drives.prepare(image, signal);
  }

  async removeImage(digest: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if ([...this.#sandboxes.values()].some(({ imageDigest }) => imageDigest === digest)) {
      throw new DroverError({
        code: 'IMAGE_IN_USE',
        advice: 'conflict',
        message: `a sandbox uses the image ${digest}`,
      });
    }
    this.#states.forget(digest);
    this.#drives.remove(digest);
  }

  async start(spec: SandboxSpec, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    const drive = this.#drives.driveOf(spec.image);
    if (drive === undefined) {
      throw invalid(`the image ${spec.image.digest} was not prepared by this driver`);
    }
    if (!/^[\w-]{1,64}$/.test(spec.id) || this.#sandboxes.has(spec.id))
      throw invalid(`the id ${spec.id} cannot be used`);
    const state = this.snapshots ? await this.#stateOf(spec, drive, signal) : undefined;
    const sandbox = await this.#launch(spec, drive, state);
    try {
      await sandbox.open(signal, this.#bootMs);
      return sandbox;
    } catch (error) {
      await sandbox.stop();
      throw error;
    }
  }

  async recover(signal: AbortSignal): Promise<readonly RecoveredSandbox[]> {
    const found: RecoveredSandbox[] = [];
    for (const group of this.#cgroups?.open(this.#prefix) ?? []) {
      const id = group.name.slice(this.#prefix.length);
      if (this.#sandboxes.has(id)) continue;
      signal.throwIfAborted();
      const gone = await this.#discard(group);
      found.push({
        id,
        outcome: gone ? 'gone' : 'left',
        left: gone ? [] : group.pids().map((pid) => `process ${pid}`),
      });
    }
    rmSync(join(this.#options.stateDir, 'run'), { recursive: true, force: true });
    mkdirSync(join(this.#options.stateDir, 'run'), { mode: 0o700 });
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the driver is closed'));
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.stop()));
    await this.#states.settled();
  }

  get #bootMs(): number {
    return this.#options.bootMs ?? 60_000;
  }

  /** The kept state of a machine that was booted with these bounds: made once. */
  #stateOf(spec: SandboxSpec, drive: string, signal: AbortSignal): Promise<string> {
    const { vcpus, memoryBytes, diskBytes, processesMax, image } = spec;
    const name = [vcpus, memoryBytes, diskBytes, processesMax].join('-');
    const path = join(this.#drives.folderOf(image.digest), `state-${name}`);
    const make = (): Promise<string> => {
      // A state of an earlier process was saved by what may be another QEMU: it is made anew.
      rmSync(path, { force: true });
      return this.#saveState({ ...spec, id: randomUUID() }, drive, path);
    };
    return this.#states.get(image.digest, name, make, signal);
  }

  /** Boots a machine, waits until its agent is ready, and keeps what it is then. */
  async #saveState(spec: SandboxSpec, drive: string, path: string): Promise<string> {
    const { signal } = this.#closing;
    const began = this.#clock.monotonicMs();
    const control = this.#socket(spec.id, 'c');
    const sandbox = await this.#launch({ ...spec, lifetimeMs: this.#bootMs + saveMs }, drive, undefined, control);
    try {
      await sandbox.open(signal, this.#bootMs);
      const bootedMs = Math.round(this.#clock.monotonicMs() - began);
      await sandbox.disconnect();
      const qmp = await QmpClient.open(await connectSocket(control, signal));
      const making = `${path}.${randomUUID()}`;
      try {
        await qmp.execute('migrate', { uri: `exec:cat > '${making}'` });
        for (const untilMs = this.#clock.monotonicMs() + saveMs; ; await wait(20, undefined, { signal })) {
          const { status } = (await qmp.execute('query-migrate')) as { readonly status?: string };
          if (status === 'completed') break;
          if (status === 'failed' || this.#clock.monotonicMs() > untilMs)
            throw unavailable(`the state of a machine is not kept: ${status}`);
        }
        renameSync(making, path);
      } finally {
        qmp[Symbol.dispose]();
        rmSync(making, { force: true });
      }
      const savedMs = Math.round(this.#clock.monotonicMs() - began) - bootedMs;
      this.#logger.info(
        { image: spec.image.digest, bootedMs, savedMs, bytes: statSync(path).size },
        'kept the state of a machine',
      );
      return path;
    } finally {
      await sandbox.stop();
    }
  }

  async #launch(spec: SandboxSpec, drive: string, state: string | undefined, control?: string): Promise<GuestSandbox> {
    const { qemu, accelerator, initramfs } = this.#machine;
    const { vcpus, memoryBytes, diskBytes, processesMax } = spec;
    const group = this.#cgroups?.make(`${this.#prefix}${spec.id}`, {
      memoryBytes: memoryBytes + overheadBytes,
      processesMax: overheadProcesses + vcpus,
      vcpus: vcpus + 1,
    });
    const socket = this.#socket(spec.id, 'a');
    const stateFd = state === undefined ? undefined : openSync(state, 'r');
    const args = qemuArguments(qemu, {
      ...{ accelerator, vcpus, memoryBytes, kernel: this.#options.kernel, initramfs, rootDrive: drive },
      commandLine: guestCommandLine({
        diskBytes,
        processesMax,
        cpuKhz: accelerator === 'tcg' ? hostCpuKhz() : undefined,
      }),
      ...{ agentSocket: socket, controlSocket: control, stateFd: stateFd === undefined ? undefined : 3 },
    });
    let child: ChildProcess;
    try {
      const enter = 'for entry; do shift; [ "$entry" = -- ] && break; echo 0 > "$entry" || exit 125; done; exec "$@"';
      child = spawn('/bin/sh', ['-c', enter, 'drover-machine', ...(group?.entries ?? []), '--', qemu.path, ...args], {
        stdio: ['ignore', 'ignore', 'pipe', stateFd ?? 'ignore'],
        env: { PATH: process.env['PATH'] ?? '', ...qemu.env },
      });
    } catch (error) {
      await this.#discard(group);
      throw error;
    } finally {
      if (stateFd !== undefined) closeSync(stateFd);
    }
    const sandbox = new GuestSandbox({
      ...{ spec, child, group, isolation: this.isolation, isMachine: true, clock: this.#clock },
      connect: async (signal) => {
        const exited = new AbortController();
        void once(child, 'exit').then(() => exited.abort(new Error('QEMU has ended')));
        return connectSocket(socket, AbortSignal.any([signal, exited.signal]));
      },
      whenOpen: (connection: GuestConnection, signal) => connection.restored(signal),
      onGone: () => {
        this.#sandboxes.delete(spec.id);
        for (const path of [socket, control]) if (path !== undefined) rmSync(path, { force: true });
      },
    });
    this.#sandboxes.set(spec.id, sandbox);
    return sandbox;
  }

  /** Unix sockets have short paths: 107 bytes with all folders. */
  #socket(id: string, kind: 'a' | 'c'): string {
    return join(this.#options.stateDir, 'run', `${id.replaceAll('-', '').slice(0, 24)}.${kind}`);
  }

  async #discard(group: SandboxCgroup | undefined): Promise<boolean> {
    for (const untilMs = this.#clock.monotonicMs() + goneMs; group !== undefined; await wait(5)) {
      if (group.remove()) break;
      if (this.#clock.monotonicMs() > untilMs) return false;
    }
    return true;
  }
}

function unavailable(message: string): DroverError {
  return new DroverError({
    code: 'DRIVER_UNAVAILABLE',
    advice: 'conflict',
    message: `the driver ${driverName}: ${message}`,
  });
}

function invalid(message: string): DroverError {
  return new DroverError({ code: 'SANDBOX_SPEC_INVALID', advice: 'fix-input', message });
}
