import type { Isolation } from './sandbox-driver.ts';

/** Why a sandbox is gone. */
export interface SandboxEnd {
  /** `stopped`: as asked. `lifetime`: it was too old. `died`: by itself; `message` has its last words. `out-of-memory`: all of it. */
  readonly cause: 'stopped' | 'lifetime' | 'died' | 'out-of-memory';
  readonly message: string;
}

/** How much a sandbox uses. Absent: this driver cannot tell. */
export interface SandboxStatistics {
  readonly cpuMs: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly memoryPeakBytes: number | undefined;
  readonly diskBytes: number | undefined;
  readonly processes: number | undefined;
}

/** A program to run in a sandbox. */
export interface ExecRequest {
  /** At least one; the first is found on the request's own PATH if it has no `/`. At most 1 MiB in all. */
  readonly arguments: readonly string[];
  /** The whole environment: nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute path in the sandbox; it is there. */
  readonly workingFolder: string;
  /** Absent: standard input is empty. */
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  /** Absent: none. It is killed then, with all that it has started. */
  readonly timeoutMs?: number | undefined;
  /** More than this, both outputs together, ends it. Default 64 MiB. */
  readonly outputBytesMax?: number | undefined;
}

/** How a program ended. */
export interface ExecEnd {
  /** Absent if a signal ended it, or it did not start. */
  readonly exitCode: number | undefined;
  /** E.g. `SIGKILL`. */
  readonly signal: string | undefined;
  /** Why, where it was not the program's own end. */
  readonly cause: 'out-of-memory' | 'timed-out' | 'output-too-large' | 'could-not-start' | 'sandbox-gone' | undefined;
  readonly message: string;
}

/** A program that runs. */
export interface SandboxExec {
  /** What it writes, as it writes it; the program waits while nobody reads. Ends when it has ended and all is read. */
  readonly output: AsyncIterable<ExecOutput>;
  /** To all that it has started. Harmless when it has ended. */
  signal(name: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void;
  /** Resolves when it and all that it has started are gone; never rejects. */
  readonly ended: Promise<ExecEnd>;
}

/** A piece of output. */
export interface ExecOutput {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Uint8Array;
}

/** A file that goes into a sandbox. */
export interface FileToPut {
  /** Absolute path in the sandbox, in one of the folders that may be written; folders above it are made. */
  readonly path: string;
  /** Permission bits, e.g. 0o644. */
  readonly mode: number;
  readonly content: AsyncIterable<Uint8Array> | Uint8Array;
}

/** A file that comes out of a sandbox. */
export interface FileFound {
  readonly path: string;
  readonly mode: number;
  readonly sizeBytes: number;
  /** To be read before the next file is asked for. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** A place to run programs in, apart from the host. Several programs may run in it at once. Disposing stops it. */
export interface Sandbox extends AsyncDisposable {
  readonly id: string;
  readonly isolation: Isolation;
  /**
   * The folder, absolute, that programs and {@link put} may write besides `/tmp`: `/run/drover`. Each use takes a folder of its own
   * there.
   */
  readonly workFolder: string;
  /** Starts a program. Throws `SANDBOX_GONE`, `EXEC_INVALID`, `EXECS_TOO_MANY`; an abort kills it. */
  exec(request: ExecRequest, signal: AbortSignal): SandboxExec;
  /** Throws `SANDBOX_GONE`, `SANDBOX_DISK_FULL`, `PATH_INVALID` for one that leaves what may be written, by links too. */
  put(files: AsyncIterable<FileToPut> | Iterable<FileToPut>, signal: AbortSignal): Promise<void>;
  /**
   * Regular files below a folder, or one file; links are left out, folders have no entry. Throws `SANDBOX_GONE`, `PATH_INVALID`,
   * `FILE_NOT_FOUND`, `FILES_TOO_LARGE` beyond `sizeBytesMax`.
   */
  get(path: string, sizeBytesMax: number, signal: AbortSignal): AsyncIterable<FileFound>;
  /** Removes a folder below {@link workFolder}, with all in it. */
  remove(path: string, signal: AbortSignal): Promise<void>;
  statistics(signal: AbortSignal): Promise<SandboxStatistics>;
  /** Resolves when nothing of it is left on the host. Idempotent. */
  stop(): Promise<void>;
  /** Resolves when it is gone, however; never rejects. */
  readonly ended: Promise<SandboxEnd>;
}
