import type { Sandbox } from './sandbox.ts';
import type { PreparedImage, UnpackedImage } from './sandbox-image.ts';

/** How far a sandbox is kept apart from the host and from others. It is reported, and stands in the audit record. */
export interface Isolation {
  /** `vm`: a kernel of its own. `namespaces`: the host's kernel, seen through namespaces. `none`: the host itself. */
  readonly level: 'vm' | 'namespaces' | 'none';
  /** Name of the driver, e.g. `namespace`. */
  readonly driver: string;
  /**
   * What was really reached, not what was wished, by name: e.g. `accelerator: tcg`, `cgroup: v1`, `seccomp: yes`,
   * `network: none`. At most 32 pairs.
   */
  readonly facts: Readonly<Record<string, string>>;
}

/** What one sandbox is to be. */
export interface SandboxSpec {
  /** A UUID, never used before: names its folders, its group of processes and its audit records. */
  readonly id: string;
  /** Whom it serves, and nobody else for as long as it exists. */
  readonly tenant: string;
  /** Made by the same driver. */
  readonly image: PreparedImage;
  /** At least 1. */
  readonly vcpus: number;
  /** A bound that is enforced. */
  readonly memoryBytes: number;
  /** What may be written in it, all its folders together; a bound that is enforced. */
  readonly diskBytes: number;
  /** Processes and threads in it at once; a bound that is enforced. */
  readonly processesMax: number;
  /** It is stopped when it is so old, whatever runs. */
  readonly lifetimeMs: number;
}

/** Something of an earlier worker process that was found. */
export interface RecoveredSandbox {
  readonly id: string;
  /** What was done: it was ended and all of it is gone, or it could not be ended and what is left is named. */
  readonly outcome: 'gone' | 'left';
  readonly left: readonly string[];
}

/**
 * Makes sandboxes in one way. A driver passes the cases of `@drover/vm-runtime/testing`, a third party's too.
 *
 * Everything that it makes on the machine carries the sandbox's id and stands below its own state folder, so that
 * {@link recover} finds it after a crash.
 */
export interface SandboxDriver extends AsyncDisposable {
  /** What it is called in a worker's configuration. */
  readonly name: string;
  /** What its sandboxes reach on this machine. */
  readonly isolation: Isolation;
  /** What it can make of an image that was unpacked. */
  readonly imageForm: 'folder' | 'none';
  /** True if a stopped state can be kept and started again. */
  readonly snapshots: boolean;
  /**
   * Makes of an image what sandboxes start from (a drive, a booted snapshot). Idempotent; a half-made one is never used.
   * Throws `IMAGE_INVALID`, `SANDBOX_DISK_FULL`; an abort throws the signal's reason and leaves nothing.
   */
  prepareImage(image: UnpackedImage, signal: AbortSignal): Promise<PreparedImage>;
  /** Removes what {@link prepareImage} made. Throws `IMAGE_IN_USE` while a sandbox has it. */
  removeImage(digest: string, signal: AbortSignal): Promise<void>;
  /**
   * Starts a sandbox; resolves when it takes `exec`. Throws `SANDBOX_START_FAILED` with the driver's last words,
   * `SANDBOX_START_TIMED_OUT`, `SANDBOX_SPEC_INVALID`; nothing is left then. An abort throws the signal's reason.
   */
  start(spec: SandboxSpec, signal: AbortSignal): Promise<Sandbox>;
  /** Ends what an earlier process left, once, before the first start. */
  recover(signal: AbortSignal): Promise<readonly RecoveredSandbox[]>;
}
