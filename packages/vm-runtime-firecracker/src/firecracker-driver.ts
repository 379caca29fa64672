import { DroverError, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
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
  type SandboxDriver,
  type SandboxSpec,
  type UnpackedImage,
} from '@drover/vm-runtime';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { checkPrograms, unavailable, type Programs } from './check-programs.ts';
import { connectVsock } from './connect-vsock.ts';
import {
  bootRequests,
  callApi,
  diaryRequests,
  loadRequests,
  saveRequests,
  type DriveRate,
  type StateFiles,
} from './firecracker-api.ts';
import { guestCommandLine } from './guest-command-line.ts';
import { inJail, JailFolder, jailsIn, removeJail } from './jail-folder.ts';
import { jailerArguments } from './jailer-command.ts';
import { processesOf } from './machine-processes.ts';
import { UserIds } from './user-ids.ts';

/** What a driver of Firecracker is made with. */
export interface FirecrackerDriverOptions extends GuestKernel {
  /** The driver's own folder on a local disk that may have device files; one process at a time. */
  readonly stateDir: string;
  /** The agent's program, static, for the guest's processor. */
  readonly agent: string;
  /** Firecracker's program, absolute. */
  readonly firecracker: string;
  /** Its jailer's, absolute, of the same version. */
  readonly jailer: string;
  /** Users, and groups of the same numbers, that machines are run as, each with its own; nobody else's. Default 900,000 and 1,000 of them. */
  readonly userIds?: { readonly first: number; readonly count: number };
  /** How much a machine may read of its drive. Default: no bound. */
  readonly driveRate?: DriveRate;
  /** Machines are booted once and started from the state that they have then. Default true. */
  readonly snapshots?: boolean;
  /** How long a machine may take to boot. Default 30 s. */
  readonly bootMs?: number;
}

/** What it works with. */
export interface FirecrackerDriverDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

const driverName = 'firecracker';
const mebibyte = 1024 * 1024;
/** What Firecracker itself takes beside the machine's memory, and what the kernel remembers of its drive. */
const overheadBytes = 256 * mebibyte;
const overheadProcesses = 64;
const diaryBytesMax = 16 * mebibyte;
const vcpusMax = 32;
const agentPort = 17_727;
const saveMs = 60_000;
const goneMs = 10_000;

/**
 * Machines of Firecracker, each in a jail of its own. Throws `DRIVER_UNAVAILABLE` where the programs, root's rights or control groups
 * are missing. Whether KVM boots a machine here is seen when one is started.
 */
export async function createFirecrackerDriver(
  options: FirecrackerDriverOptions,
  deps: FirecrackerDriverDeps = {},
): Promise<SandboxDriver> {
  const { firecracker, jailer, agent, kernel, modules, stateDir } = options;
  const programs = await checkPrograms(firecracker, jailer, [agent, kernel, ...modules]);
  const cgroups = findCgroupRoot();
  if (cgroups === undefined) throw unavailable('no control groups for memory and processes may be made here');
  for (const folder of ['boot', 'jails']) mkdirSync(join(stateDir, folder), { recursive: true, mode: 0o700 });
  // Copies that every jail may share: whoever is in one can read them, and nobody but root can write them.
  const boot = { kernel: join(stateDir, 'boot', 'kernel'), initramfs: join(stateDir, 'boot', 'initramfs') };
  for (const path of Object.values(boot)) rmSync(path, { force: true });
  copyFileSync(kernel, boot.kernel);
  writeFileSync(boot.initramfs, guestInitramfs(agent, { kernel, modules }));
  for (const path of Object.values(boot)) chmodSync(path, 0o444);
  return new FirecrackerDriver(options, { programs, cgroups, ...boot }, deps);
}

interface Machine {
  readonly programs: Programs;
  readonly cgroups: CgroupRoot;
  readonly kernel: string;
  readonly initramfs: string;
}

/** How a machine is started: it boots, to be kept if `saves`, or it goes on from what was kept. */
type Start = { readonly kind: 'boot'; readonly saves: boolean } | { readonly kind: 'load'; readonly from: StateFiles };

class FirecrackerDriver implements SandboxDriver {
  readonly name = driverName;
  readonly imageForm = 'folder';
  readonly snapshots: boolean;
  readonly isolation: Isolation;
  readonly #options: FirecrackerDriverOptions;
  readonly #machine: Machine;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #prefix: string;
  readonly #drives: RootDrives;
  readonly #states = new KeptStates<StateFiles>();
  readonly #userIds: UserIds;
  readonly #sandboxes = new Map<string, GuestSandbox>();
  readonly #closing = new AbortController();

  constructor(options: FirecrackerDriverOptions, machine: Machine, deps: FirecrackerDriverDeps) {
    const { stateDir, userIds = { first: 900_000, count: 1_000 } } = options;
    if (!(userIds.first > 0 && userIds.count > 0)) throw unavailable('machines are run as users above 0');
    this.#options = options;
    this.#machine = machine;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    // Machine ids name groups too, which drivers with other folders share.
    this.#prefix = `fc-${statSync(stateDir).ino}-`;
    this.#drives = new RootDrives(join(stateDir, 'images'), driverName);
    this.#userIds = new UserIds(userIds.first, userIds.count);
    this.snapshots = options.snapshots ?? true;
    this.isolation = {
      level: 'vm',
      driver: driverName,
      facts: {
        program: machine.programs.version,
        accelerator: 'kvm',
        jailer: 'yes',
        cgroup: machine.cgroups.version,
        seccomp: 'firecracker',
        network: 'none',
        user: 'unprivileged',
      },
    };
  }

  prepareImage(image: UnpackedImage, signal: AbortSignal): Promise<PreparedImage> {
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
    if (drive === undefined) throw invalid(`the image ${spec.image.digest} was not prepared by this driver`);
    if (!/^[A-Za-z\d-]{1,40}$/.test(spec.id) || this.#sandboxes.has(spec.id)) {
      throw invalid(`the id ${spec.id} cannot be used`);
    }
    if (spec.vcpus > vcpusMax) throw invalid(`Firecracker has at most ${vcpusMax} vCPUs, not ${spec.vcpus}`);
    const how: Start = this.snapshots
      ? { kind: 'load', from: await this.#stateOf(spec, drive, signal) }
      : { kind: 'boot', saves: false };
    const { sandbox } = this.#launch(spec, drive, how);
    await sandbox.open(signal, this.#bootMs);
    return sandbox;
  }

  async recover(signal: AbortSignal): Promise<readonly RecoveredSandbox[]> {
    const { cgroups, programs } = this.#machine;
    const names = new Set([
      ...jailsIn(this.#jails, programs.firecracker),
      ...cgroups.open(this.#prefix).map(({ name }) => name),
    ]);
    const found: RecoveredSandbox[] = [];
    for (const name of names) {
      const id = name.startsWith(this.#prefix) ? name.slice(this.#prefix.length) : name;
      if (this.#sandboxes.has(id)) continue;
      signal.throwIfAborted();
      const left = await this.#discard(name);
      found.push({ id, outcome: left.length === 0 ? 'gone' : 'left', left });
    }
    if (found.length > 0) this.#logger.info({ sandboxes: found.length }, 'ended machines that an earlier process left');
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the driver is closed'));
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.stop()));
    await this.#states.settled();
  }

  get #bootMs(): number {
    return this.#options.bootMs ?? 30_000;
  }

  get #jails(): string {
    return join(this.#options.stateDir, 'jails');
  }

  /** The kept state of a machine that was booted with these bounds: made once. */
  #stateOf(spec: SandboxSpec, drive: string, signal: AbortSignal): Promise<StateFiles> {
    const { vcpus, memoryBytes, diskBytes, processesMax, image } = spec;
    const name = [vcpus, memoryBytes, diskBytes, processesMax].join('-');
    const path = join(this.#drives.folderOf(image.digest), `state-${name}`);
    const kept = { state: `${path}.vm`, memory: `${path}.memory` };
    return this.#states.get(
      image.digest,
      name,
      () => this.#saveState({ ...spec, id: randomUUID() }, drive, kept),
      signal,
    );
  }

  /** Boots a machine, waits until its agent is ready, keeps what it is then, and ends it: nothing runs twice with what it has drawn. */
  async #saveState(spec: SandboxSpec, drive: string, kept: StateFiles): Promise<StateFiles> {
    const { signal } = this.#closing;
    const began = this.#clock.monotonicMs();
    const { sandbox, jail } = this.#launch({ ...spec, lifetimeMs: this.#bootMs + saveMs }, drive, {
      kind: 'boot',
      saves: true,
    });
    try {
      await sandbox.open(signal, this.#bootMs);
      const bootedMs = Math.round(this.#clock.monotonicMs() - began);
      await sandbox.disconnect();
      const late = AbortSignal.any([signal, AbortSignal.timeout(saveMs)]);
      for (const request of saveRequests(inJail)) await callApi(jail.socketPath(inJail.apiSocket), request, late);
      for (const part of ['state', 'memory'] as const) {
        const path = jail.hostPath(inJail[part]);
        // It was the machine's own; from here on nobody writes it.
        chownSync(path, 0, 0);
        chmodSync(path, 0o444);
        renameSync(path, kept[part]);
      }
      const savedMs = Math.round(this.#clock.monotonicMs() - began) - bootedMs;
      this.#logger.info(
        { image: spec.image.digest, bootedMs, savedMs, bytes: statSync(kept.memory).size },
        'kept the state of a machine',
      );
      return kept;
    } finally {
      await sandbox.stop();
    }
  }

  #launch(spec: SandboxSpec, drive: string, how: Start): { readonly sandbox: GuestSandbox; readonly jail: JailFolder } {
    const { programs, cgroups, kernel, initramfs } = this.#machine;
    const { vcpus, memoryBytes, processesMax } = spec;
    const id = `${this.#prefix}${spec.id}`;
    const uid = this.#userIds.take();
    if (uid === undefined) {
      throw new DroverError({
        code: 'SANDBOX_START_FAILED',
        advice: 'unavailable',
        message: 'no user id is free for another machine',
      });
    }
    let jail: JailFolder;
    try {
      jail = new JailFolder(this.#jails, programs.firecracker, id, uid, {
        [inJail.drive]: drive,
        ...(how.kind === 'load'
          ? { [inJail.state]: how.from.state, [inJail.memory]: how.from.memory }
          : { [inJail.kernel]: kernel, [inJail.initramfs]: initramfs }),
      });
    } catch (error) {
      this.#userIds.giveBack(uid);
      throw error;
    }
    const bounds = {
      memoryBytes: memoryBytes + overheadBytes,
      processesMax: overheadProcesses + vcpus,
      vcpus: vcpus + 1,
    };
    const args = jailerArguments({
      ...{ id, uid, firecracker: programs.firecracker, jailsFolder: this.#jails, apiSocket: inJail.apiSocket },
      ...{ cgroupVersion: cgroups.version, cgroupParent: cgroups.parent!, cgroupSettings: cgroups.settings(bounds) },
      fileBytesMax: how.kind === 'boot' && how.saves ? memoryBytes + diaryBytesMax : diaryBytesMax,
    });
    const child = spawn(programs.jailer, args, { stdio: ['ignore', 'ignore', 'pipe'], env: {}, cwd: '/' });
    const ended = new AbortController();
    // The jailer goes and leaves its outputs to the machine: they are closed when that ends.
    const onEnd = (): void => ended.abort(new Error('Firecracker has ended'));
    child.once('close', onEnd).once('error', onEnd);
    const requests =
      how.kind === 'load'
        ? loadRequests(inJail)
        : bootRequests({
            ...{ vcpus, memoryBytes, kernel: inJail.kernel, initramfs: inJail.initramfs, rootDrive: inJail.drive },
            commandLine: guestCommandLine({
              ...{ diskBytes: spec.diskBytes, processesMax, agentPort },
              hasModules: this.#options.modules.length > 0,
            }),
            ...{ driveRate: this.#options.driveRate ?? {}, vsockSocket: inJail.vsockSocket },
          });
    const connect = async (signal: AbortSignal): Promise<Socket> => {
      const until = AbortSignal.any([signal, ended.signal, AbortSignal.timeout(this.#bootMs)]);
      const api = jail.socketPath(inJail.apiSocket);
      try {
        const ready = await connectSocket(api, until);
        ready.destroy();
        await once(ready, 'close');
        for (const request of [...diaryRequests(inJail), ...requests]) await callApi(api, request, until);
        return await connectVsock(jail.socketPath(inJail.vsockSocket), agentPort, until);
      } catch (error) {
        // That it has ended says more than what was being done.
        until.throwIfAborted();
        throw error;
      }
    };
    const sandbox = new GuestSandbox({
      ...{
        spec,
        child,
        group: cgroups.at(id),
        isolation: this.isolation,
        isMachine: true,
        clock: this.#clock,
        connect,
      },
      whenOpen: (connection: GuestConnection, signal) => connection.restored(signal),
      onGone: () => {
        this.#sandboxes.delete(spec.id);
        this.#userIds.giveBack(uid);
        jail.remove();
      },
    });
    this.#sandboxes.set(spec.id, sandbox);
    return { sandbox, jail };
  }

  /** Ends what was started under a machine's id and removes its jail. Answers what is left. */
  async #discard(name: string): Promise<readonly string[]> {
    const group = this.#machine.cgroups.at(name);
    const pids = (): number[] => [...new Set([...processesOf(name), ...group.pids()])];
    for (const untilMs = this.#clock.monotonicMs() + goneMs; ; await wait(5)) {
      for (const pid of pids()) kill(pid);
      if (group.remove() && pids().length === 0) break;
      if (this.#clock.monotonicMs() > untilMs) {
        this.#logger.error({ machine: name, pids: pids() }, 'the processes of a machine do not end');
        return pids().map((pid) => `process ${pid}`);
      }
    }
    removeJail(join(this.#jails, basenameOf(this.#machine.programs.firecracker), name));
    return [];
  }
}

function basenameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function invalid(message: string): DroverError {
  return new DroverError({ code: 'SANDBOX_SPEC_INVALID', advice: 'fix-input', message });
}
