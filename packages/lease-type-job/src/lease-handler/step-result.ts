import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { ProcessResult } from '@drover/process-runner';
import { StepEnd, StepResultSchema, type StepResult } from '../gen/drover/job/v1/job_pb.ts';

interface EndFields {
  readonly end: StepEnd;
  readonly exitCode?: number;
  readonly signal?: string;
  readonly reason?: { readonly code: string; readonly message: string };
}

/** What a step's result says of its process: every way in which a process ends has its own. */
export function stepResultFromProcess(name: string, result: ProcessResult): StepResult {
  const { reason, ...fields } = endFields(result);
  return create(StepResultSchema, {
    name,
    ...fields,
    ...(reason === undefined ? {} : { reason }),
    duration: durationFromMs(Math.round(result.durationMs)),
    logSizeBytes: BigInt(result.spoolSizeBytes),
  });
}

/** The result of a step that no process ran for. */
export function stepResultWithout(name: string, end: StepEnd, code: string, message: string): StepResult {
  return create(StepResultSchema, { name, end, reason: { code, message } });
}

function endFields(result: ProcessResult): EndFields {
  switch (result.kind) {
    case 'exited':
      return { end: StepEnd.EXITED, exitCode: result.exitCode };
    case 'signalled':
      return {
        end: StepEnd.SIGNALLED,
        signal: result.signal,
        reason: { code: 'STEP_SIGNALLED', message: `ended by ${result.signal}` },
      };
    case 'out-of-memory':
      return {
        end: StepEnd.OUT_OF_MEMORY,
        reason: {
          code: 'STEP_OUT_OF_MEMORY',
          message:
            result.memoryBytesMax === undefined
              ? 'the machine ran out of memory'
              : `used more than the ${result.memoryBytesMax} bytes of memory that it may`,
        },
      };
    case 'timed-out':
      return {
        end: StepEnd.TIMED_OUT,
        reason: { code: 'STEP_TIMED_OUT', message: `did not end within ${result.timeoutMs} ms` },
      };
    case 'cancelled':
      return { end: StepEnd.CANCELLED, reason: { code: 'STEP_CANCELLED', message: result.reason } };
    case 'output-limit':
      return {
        end: StepEnd.LOG_FAILED,
        reason: { code: 'STEP_LOG_FULL', message: `wrote more than the ${result.logSizeBytesMax} bytes of a log` },
      };
    case 'output-failed':
      return { end: StepEnd.LOG_FAILED, reason: { code: result.code, message: result.message } };
    case 'could-not-start':
      return { end: StepEnd.NOT_STARTED, reason: { code: result.code, message: result.message } };
  }
}

/** True for a step whose process ended by itself with code 0. */
export function stepSucceeded(result: StepResult): boolean {
  return result.end === StepEnd.EXITED && result.exitCode === 0;
}

/** How a step ended, in a few words for a progress line. */
export function stepEndText(result: StepResult): string {
  if (stepSucceeded(result)) return 'succeeded';
  if (result.end === StepEnd.EXITED) return `exited with ${result.exitCode}`;
  return result.reason?.message ?? 'did not succeed';
}
