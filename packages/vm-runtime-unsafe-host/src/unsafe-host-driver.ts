import { DroverError, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { GuestSandbox } from '@drover/vm-agent';
import type {
  Isolation,
  PreparedImage,
  RecoveredSandbox,
  Sandbox,
  SandboxDriver,
  SandboxSpec,
  UnpackedImage,
} from '@drover/vm-runtime';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';

/** The only name under which it is to be had. */
export const unsafeHostDriverName = 'really_really_dangerous';

/** What the driver is made with. */
export interface UnsafeHostDriverOptions {
  /** Its name, written out: whoever passes it knows what it does. */
  readonly name: string;
  /** The driver's own folder; one process at a time. */
  readonly stateDir: string;
  /** The agent's program, for this host. */
  readonly agent: string;
}

/** What it works with. */
export interface UnsafeHostDriverDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silent. It warns at every start. */
  readonly logger?: Logger;
}

const startMs = 10_000;

/**
 * A driver without a sandbox: programs run on the host as the worker's user, see all its files and its network, and are bound by
 * nothing. Throws `DRIVER_NAME_REQUIRED` unless it is named exactly so.
 */
export function createUnsafeHostDriver(
  options: UnsafeHostDriverOptions,
  deps: UnsafeHostDriverDeps = {},
): SandboxDriver {
  if (options.name !== unsafeHostDriverName) {
    throw new DroverError({
      code: 'DRIVER_NAME_REQUIRED',
      advice: 'fix-input',
      message: `programs run on the host itself only under the name ${unsafeHostDriverName}, not ${JSON.stringify(options.name)}`,
    });
  }
  if (!existsSync(options.agent)) {
    throw new DroverError({
      code: 'DRIVER_UNAVAILABLE',
      advice: 'conflict',
      message: `the driver ${unsafeHostDriverName}: there is no agent at ${options.agent}`,
    });
  }
  return new UnsafeHostDriver(options, deps);
}

class UnsafeHostDriver implements SandboxDriver {
  readonly name = unsafeHostDriverName;
  readonly imageForm = 'none';
  readonly snapshots = false;
  readonly isolation: Isolation = {
    level: 'none',
    driver: unsafeHostDriverName,
    facts: { network: 'host', user: 'the worker’s' },
  };
  readonly #options: UnsafeHostDriverOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #sandboxes = new Map<string, GuestSandbox>();

  constructor(options: UnsafeHostDriverOptions, { clock = systemClock, logger = silentLogger }: UnsafeHostDriverDeps) {
    this.#options = { ...options, stateDir: resolve(options.stateDir) };
    this.#clock = clock;
    this.#logger = logger;
    mkdirSync(this.#options.stateDir, { recursive: true, mode: 0o700 });
    logger.warn(
      { driver: unsafeHostDriverName },
      'compiles run on this host with no sandbox: whoever may compile may do all that the worker may',
    );
  }

  /** There is nothing to make: what runs is the host's. */
  async prepareImage({ digest }: UnpackedImage, signal: AbortSignal): Promise<PreparedImage> {
    signal.throwIfAborted();
    return { digest, driver: unsafeHostDriverName, sizeBytes: 0 };
  }

  async removeImage(_digest: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
  }

  async start(spec: SandboxSpec, signal: AbortSignal): Promise<Sandbox> {
    signal.throwIfAborted();
    if (!/^[\w-]{1,64}$/.test(spec.id) || this.#sandboxes.has(spec.id)) {
      throw new DroverError({
        code: 'SANDBOX_SPEC_INVALID',
        advice: 'fix-input',
        message: `the id ${spec.id} cannot be used`,
      });
    }
    this.#logger.warn(
      { sandboxId: spec.id, tenant: spec.tenant },
      'a place on the host itself is opened, with no sandbox',
    );
    const folder = join(this.#options.stateDir, spec.id);
    mkdirSync(folder, { mode: 0o700 });
    const child = spawn(this.#options.agent, ['fd:3', folder], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      env: {},
      detached: true,
    });
    const sandbox = new GuestSandbox({
      ...{
        spec,
        child,
        isolation: this.isolation,
        clock: this.#clock,
        isMachine: false,
        group: undefined,
        workFolder: folder,
      },
      connect: async () => child.stdio[3] as unknown as Duplex,
      onGone: () => {
        this.#sandboxes.delete(spec.id);
        rmSync(folder, { recursive: true, force: true });
      },
    });
    this.#sandboxes.set(spec.id, sandbox);
    await sandbox.open(signal, startMs);
    return sandbox;
  }

  /** The agents of a process that is gone have ended with it; their folders are left. */
  async recover(signal: AbortSignal): Promise<readonly RecoveredSandbox[]> {
    signal.throwIfAborted();
    const left = readdirSync(this.#options.stateDir).filter((id) => !this.#sandboxes.has(id));
    for (const id of left) rmSync(join(this.#options.stateDir, id), { recursive: true, force: true });
    return left.map((id) => ({ id, outcome: 'gone', left: [] }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.stop()));
  }
}
