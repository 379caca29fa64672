import type { TaskEnd } from '@drover/herd-protocol';
import type { Clock, Logger } from '@drover/lease-kit';
import type { QuickRunner } from '@drover/process-runner';
import type { ProgressPipes } from '@drover/progress-pipes';
import type { HerdJob } from './herd-job.ts';
import type { HerdLimits } from './herd-limits.ts';
import type { HerdContent } from './place-inputs.ts';

/** What all jobs of a runner share. */
export interface HerdJobParts {
  readonly limits: HerdLimits;
  readonly graceMs: number;
  readonly cancelGraceMs: number;
  readonly outputsKeptMs: number;
  readonly env: Readonly<Record<string, string>>;
  readonly content: HerdContent;
  readonly processes: QuickRunner;
  readonly pipes: ProgressPipes;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A task may start now, or more may be asked for. */
  onChange(): void;
  onTaskEnded(end: TaskEnd): void;
  /** The job has ended. */
  onOver(job: HerdJob): void;
  /** Its end needs to be told no more. */
  onForgotten(job: HerdJob): void;
}
