import type { PipeKind } from '@drover/herd-protocol';

/** A job as its client has it: names checked, files of this machine found. */
export interface HerdJob {
  /** For people. */
  readonly name: string;
  /** Every agent has them before its first task starts. */
  readonly inputs: readonly JobInput[];
  /** Looked for on each agent when all tasks have ended. */
  readonly outputs: readonly JobOutput[];
  /** In the order in which they are given out; names are unique. */
  readonly tasks: readonly JobTask[];
}

/** A file of this machine that agents need. */
export interface JobInput {
  /** In the job's folder. */
  readonly path: string;
  /** Absolute path here. */
  readonly source: string;
  readonly executable: boolean;
  /** Only for agents of this architecture, e.g. `linux-x64`. Absent: for all. */
  readonly architecture?: string | undefined;
}

/** A file that is brought back. */
export interface JobOutput {
  /** In the job's folder. */
  readonly path: string;
  /** Where it goes, relative to the folder of outputs. */
  readonly target: string;
}

/** One process. */
export interface JobTask {
  readonly name: string;
  /** A path in the job's folder, an absolute path of the agent's machine, or a name on its PATH. */
  readonly exe: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Relative to the job's folder; empty: the folder. */
  readonly workingFolder: string;
  /** Absent: it has none. */
  readonly pipe?: { readonly name: string; readonly kind: PipeKind } | undefined;
  /** Absent: none. */
  readonly timeoutMs?: number | undefined;
  /** How often it is run again after it has failed. */
  readonly retries: number;
  readonly inputs: readonly JobInput[];
  readonly outputs: readonly JobOutput[];
}

/** The most of everything in a job. */
export const herdJobBounds = {
  jobFileCharactersMax: 4 * 1024 * 1024,
  jobNameCharactersMax: 256,
  tasksMax: 10_000,
  /** An agent takes 128; a further attempt has a number behind the name. */
  taskNameCharactersMax: 120,
  argumentsPerTaskMax: 1_000,
  /** Of the arguments and the environment of a task together. */
  taskCharactersMax: 100_000,
  inputsPerTaskMax: 1_000,
  inputsMax: 10_000,
  outputsPerTaskMax: 1_000,
  outputsMax: 10_000,
  pathCharactersMax: 1_024,
  retriesMax: 10,
} as const;
