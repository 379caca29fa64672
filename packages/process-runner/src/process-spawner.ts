import type { StartFailure } from './process-request.ts';

/** What a spawner starts: nothing in it is checked any more. */
export interface SpawnRequest {
  /** A path, or a name that is looked up on the PATH of `env`. */
  readonly exe: string;
  readonly args: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** The file that standard output and error are appended to; it exists. */
  readonly outputPath: string;
}

/** What is told of one process. Exactly one of `onEnd`, `onFailure` and `onLost` is called, and nothing after it. */
export interface SpawnListener {
  /** It leads a new session; its start time is 0 where there is no `/proc`. */
  onStart(pid: number, startTime: number): void;
  onEnd(exit: { readonly exitCode: number } | { readonly signal: NodeJS.Signals }): void;
  /** Nothing ran. May come after `onStart`, when the program could not take the new process over. */
  onFailure(failure: StartFailure): void;
  /** The spawner was ended by somebody: how the process ends, or whether it has, is unknown. */
  onLost(): void;
}

/** Starts processes that lead sessions of their own, with no look at the machine and no file of its own. */
export interface ProcessSpawner extends AsyncDisposable {
  /** Answers through the listener, never by throwing. */
  start(request: SpawnRequest, listener: SpawnListener): void;
  /** Makes a FIFO for this user alone. Throws what the file system says, as a `NodeJS.ErrnoException`. */
  makeFifo(path: string): Promise<void>;
}
