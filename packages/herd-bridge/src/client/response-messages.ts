import { create } from '@bufbuild/protobuf';
import {
  JobEndedSchema,
  OutputFoundSchema,
  OutputMissingSchema,
  TaskEnd,
  TaskEndedSchema,
  type JobEnd,
  type RunJobResponse,
} from '@drover/herd-protocol';
import type { LegacyTaskEnd } from './run-legacy-job.ts';
import type { StagedOutput } from './staged-outputs.ts';

/** What a response of a job says. */
export type ResponseMessage = RunJobResponse['message'];

/** The wire tells no exit code, and nothing of a task that could not be started. */
const ends = {
  ok: { end: TaskEnd.SUCCEEDED },
  error: {
    end: TaskEnd.FAILED,
    errorCode: 'LEGACY_TASK_FAILED',
    errorMessage: 'the agent says that it failed; the original protocol does not tell how',
  },
  unknown: {
    end: TaskEnd.FAILED,
    errorCode: 'LEGACY_END_UNKNOWN',
    errorMessage: 'the agent says nothing of its end, as when it could not be started',
  },
  cancelled: { end: TaskEnd.CANCELLED },
} as const;

/** How a task ended. */
export function taskEnded(task: string, end: LegacyTaskEnd | 'cancelled'): ResponseMessage {
  return { case: 'ended', value: create(TaskEndedSchema, { task, ...ends[end] }) };
}

/** What became of a declared output; `task` is empty for one of the job. */
export function outputMessage(path: string, task: string, output: StagedOutput | undefined): ResponseMessage {
  if (output !== undefined) {
    return { case: 'output', value: create(OutputFoundSchema, { file: { path, digest: output.digest }, task }) };
  }
  const message = 'it did not come with the results';
  return { case: 'missing', value: create(OutputMissingSchema, { path, task, code: 'OUTPUT_NOT_FOUND', message }) };
}

/** The last message. */
export function jobEnded(end: JobEnd, errorCode = '', errorMessage = ''): ResponseMessage {
  return { case: 'jobEnded', value: create(JobEndedSchema, { end, errorCode, errorMessage }) };
}
