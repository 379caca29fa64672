import { DroverError, messageOf, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { GuestSandbox } from '@drover/vm-agent';
import {
  findCgroupRoot,
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
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { bubblewrapArguments } from './bubblewrap-arguments.ts';
import { seccompFilter } from './seccomp-filter.ts';

/** What a driver of namespaces is made with. */
export interface NamespaceDriverOptions {
  /** The driver's own folder on a local disk; one process at a time. */
  readonly stateDir: string;
  /** The agent's program, static. */
  readonly agent: string;
  /** Default: `bwrap` on PATH. */
  readonly bubblewrap?: string;
  /** A folder of cgroup v2 to make groups in; absent: looked for. */
  readonly cgroupParent?: string;
  /** Start also where memory and processes cannot be bounded. Default false: there `DRIVER_UNAVAILABLE` is thrown. */
  readonly unbounded?: boolean;
}

/** What it works with. */
export interface NamespaceDriverDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. */
  readonly logger?: Logger;
}

const driverName = 'namespace';
const groupPrefix = 'sandbox-';
const probeMs = 10_000;
const startMs = 10_000;
const goneMs = 10_000;

/**
 * Finds out what this machine lets sandboxes of namespaces be. Throws `DRIVER_UNAVAILABLE` with what is missing: bubblewrap, user
 * namespaces, control groups.
 */
export async function createNamespaceDriver(
  options: NamespaceDriverOptions,
  deps: NamespaceDriverDeps = {},
): Promise<SandboxDriver> {
  const bubblewrap = options.bubblewrap ?? 'bwrap';
  if (!existsSync(options.agent)) throw unavailable(`there is no agent at ${options.agent}`);
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
  const version = await probe(bubblewrap);
  const cgroups = findCgroupRoot(undefined, options.cgroupParent);
  if (cgroups === undefined && options.unbounded !== true) {
    throw unavailable(
      'no control groups for memory and processes may be made here; run it as root, or hand out a folder',
    );
  }
  return new NamespaceDriver({ ...options, bubblewrap }, version, cgroups, deps);
}

class NamespaceDriver implements SandboxDriver {
  readonly name = driverName;
  readonly imageForm = 'folder';
  readonly snapshots = false;
  readonly isolation: Isolation;
  readonly #options: NamespaceDriverOptions & { readonly bubblewrap: string };
  readonly #cgroups: CgroupRoot | undefined;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #images = new Map<string, string>();
  readonly #sandboxes = new Map<string, GuestSandbox>();
  readonly #filterPath: string | undefined;
  readonly #prefix: string;

  constructor(
    options: NamespaceDriverOptions & { readonly bubblewrap: string },
    version: string,
    cgroups: CgroupRoot | undefined,
    deps: NamespaceDriverDeps,
  ) {
    this.#options = options;
    this.#cgroups = cgroups;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    const filter = seccompFilter();
    if (filter !== undefined) {
      this.#filterPath = join(options.stateDir, 'seccomp.bpf');
      writeFileSync(this.#filterPath, filter, { mode: 0o600 });
    }
    // Two drivers of one machine leave each other's groups alone.
    this.#prefix = `${groupPrefix}${statSync(options.stateDir).ino}-`;
    this.isolation = {
      level: 'namespaces',
      driver: driverName,
      facts: {
        program: version,
        cgroup: cgroups?.version ?? 'none',
        seccomp: filter === undefined ? 'no' : 'yes',
        network: 'none',
        user: 'unprivileged',
      },
    };
  }

  async prepareImage(image: UnpackedImage, signal: AbortSignal): Promise<PreparedImage> {
    signal.throwIfAborted();
    if (!statSync(image.folder, { throwIfNoEntry: false })?.isDirectory()) {
      throw new DroverError({
        code: 'IMAGE_INVALID',
        advice: 'fix-input',
        message: `the image ${image.digest} has no folder at ${image.folder}`,
      });
    }
    this.#images.set(image.digest, image.folder);
    return { digest: image.digest, driver: driverName, sizeBytes: 0 };
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
    this.#images.delete(digest);
  }

  async start(spec: SandboxSpec, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    const folder = this.#images.get(spec.image.digest);
    if (folder === undefined || spec.image.driver !== driverName) {
      throw invalid(`the image ${spec.image.digest} was not prepared by this driver`);
    }
    if (!/^[\w-]{1,64}$/.test(spec.id) || this.#sandboxes.has(spec.id))
      throw invalid(`the id ${spec.id} cannot be used`);
    const group = this.#cgroups?.make(`${this.#prefix}${spec.id}`, spec);
    const filter = this.#filterPath === undefined ? undefined : openSync(this.#filterPath, 'r');
    try {
      const child = spawn(
        '/bin/sh',
        [
          // The group first: whatever is started is born in it.
          '-c',
          'for entry; do shift; [ "$entry" = -- ] && break; echo 0 > "$entry" || exit 125; done; exec "$@"',
          'drover-sandbox',
          ...(group?.entries ?? []),
          '--',
          this.#options.bubblewrap,
          ...bubblewrapArguments({
            spec,
            folder,
            agent: this.#options.agent,
            filterFd: filter === undefined ? undefined : 4,
          }),
        ],
        { stdio: ['ignore', 'ignore', 'pipe', 'pipe', filter ?? 'ignore'], env: { PATH: process.env['PATH'] ?? '' } },
      );
      const sandbox = new GuestSandbox({
        spec,
        child,
        group,
        isolation: this.isolation,
        isMachine: false,
        connect: async () => child.stdio[3] as unknown as Duplex,
        clock: this.#clock,
        onGone: () => void this.#sandboxes.delete(spec.id),
      });
      this.#sandboxes.set(spec.id, sandbox);
      await sandbox.open(signal, startMs);
      return sandbox;
    } catch (error) {
      await this.#discard(group);
      throw error;
    } finally {
      if (filter !== undefined) closeSync(filter);
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
    if (found.length > 0)
      this.#logger.info({ sandboxes: found.length }, 'ended sandboxes that an earlier process left');
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.stop()));
  }

  /** Kills what is in a group until it can be removed. */
  async #discard(group: SandboxCgroup | undefined): Promise<boolean> {
    if (group === undefined) return true;
    for (const untilMs = this.#clock.monotonicMs() + goneMs; this.#clock.monotonicMs() < untilMs;) {
      if (group.remove()) return true;
      await wait(5);
    }
    this.#logger.error({ pids: group.pids() }, 'the processes of a sandbox do not end');
    return false;
  }
}

/** Runs the smallest sandbox that there is. Answers the program's version. */
async function probe(bubblewrap: string): Promise<string> {
  const run = (args: readonly string[]): Promise<string> =>
    new Promise((resolve, reject) => {
      const child = spawn(bubblewrap, args, {
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: probeMs,
        killSignal: 'SIGKILL',
      });
      let [text, errors] = ['', ''];
      child.stdout.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(0, 1_000)));
      child.stderr.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(0, 1_000)));
      child.once('error', reject);
      child.once('close', (code) =>
        code === 0 ? resolve(text.trim()) : reject(new Error(errors.trim() || `exit ${code}`)),
      );
    });
  try {
    const version = await run(['--version']);
    await run(['--unshare-all', '--unshare-user', '--uid', '65534', '--gid', '65534', '--ro-bind', '/', '/', 'true']);
    return version;
  } catch (error) {
    throw unavailable(`bubblewrap makes no sandbox here: ${messageOf(error)}`);
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
