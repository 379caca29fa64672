/** Why a process could not be started. */
export type StartFailureCode =
  /** The executable does not exist, in the folder or on the PATH given, or its `#!` interpreter does not. */
  | 'PROCESS_EXE_NOT_FOUND'
  /** It exists and this user may not run it, or it is no program. */
  | 'PROCESS_EXE_NOT_EXECUTABLE'
  /** The working directory does not exist, is no directory, or may not be entered. */
  | 'PROCESS_CWD_INVALID'
  /** Arguments or environment are larger than the system takes, or hold a NUL character. */
  | 'PROCESS_ARGUMENTS_INVALID'
  /** The machine is out of processes, memory or file descriptors; the same start may succeed later. */
  | 'PROCESS_NO_RESOURCES'
  /** Any other answer of the system; the message carries it. */
  | 'PROCESS_START_FAILED';

/** How a run ended. Exactly one holds; the first cause to happen is the one that is told. */
export type ProcessEnd =
  /** The process ended by itself with this code, 0 to 255. */
  | { readonly kind: 'exited'; readonly exitCode: number }
  /**
   * A signal that the runner did not send ended it. `machineOomKills` counts what the kernel ended for want of memory
   * on the whole machine in the same span: 0 rules that cause out, more does not prove it; absent when not counted.
   */
  | { readonly kind: 'signalled'; readonly signal: NodeJS.Signals; readonly machineOomKills?: number }
  /**
   * Memory ran out. Evidence: `cgroup` the kernel enforced the limit; `sampled` the runner saw the tree above
   * `memoryBytesMax` and ended it (`observedBytes`); `kernel-log` the kernel's log names a process of the tree.
   */
  | {
      readonly kind: 'out-of-memory';
      readonly evidence: 'cgroup' | 'sampled' | 'kernel-log';
      readonly memoryBytesMax?: number;
      readonly observedBytes?: number;
    }
  /** A time limit passed: `execution` since the start, `idle` since the last byte of output. */
  | { readonly kind: 'timed-out'; readonly limit: 'execution' | 'idle'; readonly timeoutMs: number }
  /** `cancel`, the start's signal or the runner's stop ended it. */
  | { readonly kind: 'cancelled'; readonly reason: string }
  /** It wrote more than `logSizeBytesMax`; the spool is cut to exactly that. */
  | { readonly kind: 'output-limit'; readonly logSizeBytesMax: number }
  /** The file system of the spool had no byte left while the process ran, so output may be missing. */
  | { readonly kind: 'output-failed'; readonly code: 'PROCESS_SPOOL_FULL'; readonly message: string }
  /** Nothing ran. */
  | { readonly kind: 'could-not-start'; readonly code: StartFailureCode; readonly message: string };

/** The end of a run, and what was measured. */
export type ProcessResult = ProcessEnd & {
  /** From the start to the end of the whole tree. */
  readonly durationMs: number;
  /** The size of the spool file, after the last process of the tree. */
  readonly spoolSizeBytes: number;
  /** What the system said of the first process, whoever ended it; absent when nothing ran or it never ended. */
  readonly exit?: { readonly exitCode: number } | { readonly signal: NodeJS.Signals };
  /** How many other processes of the tree still ran when the first one had ended, and were ended by the runner. */
  readonly stragglers: number;
  /** False when a process withstood SIGKILL (stuck in the kernel); its journal entry then stays, as a leftover. */
  readonly treeGone: boolean;
  /** The largest memory of the tree that was sampled; absent when memory was not sampled. */
  readonly memoryBytesPeak?: number;
};
