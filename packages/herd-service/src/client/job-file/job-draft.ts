import type { JobTask } from './herd-job.ts';

/** A job as its file says it, before files of this machine are looked for. `place` is where a thing stands in the file. */
export interface JobDraft {
  readonly name: string;
  readonly inputs: readonly DraftInput[];
  readonly outputs: readonly DraftOutput[];
  readonly requirements: readonly DraftRequirements[];
  readonly tasks: readonly DraftTask[];
  /** Names here to names in the job's folder. */
  readonly rename: ReadonlyMap<string, string>;
}

/** Files that a job needs. */
export interface DraftInput {
  readonly from: string;
  /** Absent: as here. */
  readonly to?: string | undefined;
  /** Absent: as here. */
  readonly executable?: boolean | undefined;
  readonly architecture?: string | undefined;
  /** Named as the original herd does: one file, which may lie beside the folder; see `originalName`. */
  readonly original?: boolean | undefined;
  readonly place: string;
}

/** A file that comes back. */
export interface DraftOutput {
  readonly from: string;
  readonly to: string;
  readonly place: string;
}

/** A file of requirements. */
export interface DraftRequirements {
  readonly file: string;
  readonly place: string;
}

/** One process. */
export interface DraftTask extends Omit<JobTask, 'inputs' | 'outputs'> {
  readonly inputs: readonly DraftInput[];
  readonly outputs: readonly DraftOutput[];
  readonly requirements: readonly DraftRequirements[];
  readonly place: string;
}

/** Code of every error about a job file. */
export const herdJobFileInvalid = 'HERD_JOB_FILE_INVALID';
