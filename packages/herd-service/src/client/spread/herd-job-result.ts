/** How a task came to its end. */
export type TaskOutcome =
  | 'succeeded'
  | 'failed'
  | 'cancelled'
  | 'timed-out'
  | 'out-of-memory'
  | 'could-not-start'
  /** No agent was left that could have run it. */
  | 'not-run';

/** What became of one task. */
export interface TaskResult {
  readonly name: string;
  readonly outcome: TaskOutcome;
  /** Name of the agent of its last attempt; absent: it was given to none. */
  readonly agent?: string | undefined;
  /** Absent if a signal ended it, it did not start, or its agent cannot tell. */
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  readonly errorCode?: string | undefined;
  readonly errorMessage?: string | undefined;
  /** The end of what it wrote; of the first hundred that did not succeed alone. */
  readonly logTail?: string | undefined;
  readonly tookMs?: number | undefined;
  /** How often it was given to an agent. */
  readonly attempts: number;
  /** Given to an agent that was lost before it told the end, and then to another: it may have run on both. */
  readonly mayHaveRunTwice: boolean;
}

/** An output that is here. */
export interface SavedOutput {
  /** In the job's folder. */
  readonly path: string;
  /** Absolute path here. */
  readonly file: string;
  readonly sizeBytes: number;
  readonly agent: string;
  /** The task that it belongs to; absent: the job. */
  readonly task?: string | undefined;
  /** True if another agent had other content for the same file, which has the name that was asked for. */
  readonly isConflict: boolean;
}

/** An output that is not here. */
export interface MissingOutput {
  readonly path: string;
  readonly task?: string | undefined;
  /** Stable, e.g. `OUTPUT_NOT_FOUND`, `AGENT_LOST`. */
  readonly code: string;
  readonly message: string;
}

/** What an agent did for a job. */
export interface AgentResult {
  readonly agentId: string;
  readonly name: string;
  /** `left`: it could not be reached, refused the job or gave it up; `lost`: it went away with tasks. */
  readonly state: 'done' | 'left' | 'lost';
  /** Why it was left or lost. */
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  /** Bytes of files that it had not got. */
  readonly sentBytes: number;
  /** Tasks that ended there. */
  readonly tasks: number;
}

/** How a job ended. */
export interface HerdJobResult {
  /** `succeeded`: every task did, and no output is missing. */
  readonly outcome: 'succeeded' | 'failed' | 'cancelled';
  /** In the order of the job. */
  readonly tasks: readonly TaskResult[];
  readonly outputs: readonly SavedOutput[];
  readonly missing: readonly MissingOutput[];
  readonly agents: readonly AgentResult[];
  readonly tookMs: number;
}

/** What happens in a job, for those who watch it. */
export type HerdJobEvent =
  | { readonly kind: 'agent-began'; readonly agent: string; readonly slots: number; readonly sentBytes: number }
  | { readonly kind: 'agent-gone'; readonly agent: string; readonly code: string; readonly message: string }
  | { readonly kind: 'task-started'; readonly task: string; readonly agent: string }
  | { readonly kind: 'task-progress'; readonly task: string; readonly percent: number }
  | { readonly kind: 'task-evaluation'; readonly task: string; readonly x: number; readonly y: number }
  | { readonly kind: 'task-message'; readonly task: string; readonly text: string; readonly isError: boolean }
  | { readonly kind: 'task-dropped'; readonly task: string; readonly items: number }
  /** It is run again: after a failure, or since its agent is gone. */
  | { readonly kind: 'task-again'; readonly task: string; readonly why: string }
  | { readonly kind: 'task-ended'; readonly result: TaskResult }
  | { readonly kind: 'output'; readonly output: SavedOutput };
