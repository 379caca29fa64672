import {
  JobEnd,
  TaskEnd,
  type HerdJobSession,
  type OutputFound,
  type RunJobResponse,
  type TaskEnded,
} from '@drover/herd-protocol';
import { messageOf, type Logger } from '@drover/lease-kit';
import { taskEndBytes, taskItemBytes } from '../wire/index.ts';
import type { TaskRequest } from './job-request.ts';

/** How a job went. */
export interface JobRun {
  /** What was found, by path in the job's folder. */
  readonly found: ReadonlyMap<string, NonNullable<OutputFound['file']>>;
}

/**
 * Runs a job's tasks to the end and tells the client of them by `send`, which is not called any more once `isMuted` says so. When
 * `send` throws, the job is cancelled; it is waited for all the same. Throws what ended the responses, and an abort's reason.
 */
export async function runJob(
  session: HerdJobSession,
  tasks: readonly TaskRequest[],
  client: { readonly send: (bytes: Uint8Array) => Promise<void>; readonly isMuted: () => boolean },
  logger: Logger,
  signal: AbortSignal,
): Promise<JobRun> {
  const pipes = new Map(tasks.map(({ pipe, task }) => [task.name, pipe]));
  const found = new Map<string, NonNullable<OutputFound['file']>>();
  const left = [...tasks];
  /** Names of tasks that have no end yet. */
  const live = new Set<string>();
  let credits = 0;
  let isFinished = false;
  const giveTasks = (): void => {
    if (isFinished) return;
    const now = left.splice(0, credits);
    credits -= now.length;
    for (const name of addTasks(session, now, logger)) live.add(name);
    if (left.length > 0) return;
    isFinished = true;
    session.finish();
  };
  const tell = async (bytes: Uint8Array | undefined): Promise<void> => {
    if (bytes === undefined || client.isMuted()) return;
    try {
      await client.send(bytes);
    } catch {
      session.cancel();
    }
  };
  giveTasks();
  for await (const { message } of session.responses(0n, signal)) {
    switch (message.case) {
      case 'credits':
        credits += message.value.tasks;
        giveTasks();
        break;
      case 'item':
        if (message.value.item.case === 'raw') {
          await tell(taskItemBytes(pipes.get(message.value.task) ?? '', message.value.item.value));
        }
        break;
      case 'ended':
        live.delete(message.value.task);
        logFailedStart(message.value, logger);
        await tell(endBytes(message.value, pipes.get(message.value.task) ?? ''));
        break;
      case 'output':
        if (message.value.file !== undefined) found.set(message.value.file.path, message.value.file);
        break;
      case 'jobEnded':
        // Tasks of a job that was given up have no end here, and nobody runs them elsewhere.
        if (message.value.end === JobEnd.GIVEN_UP) {
          for (const name of live) await tell(taskEndBytes(pipes.get(name) ?? '', 'Error'));
        }
        return { found };
      default:
        logOther(message, logger);
    }
  }
  return { found };
}

/** What a genuine agent says of an end; absent for a task that did not start, of which it says nothing. */
function endBytes(ended: TaskEnded, pipe: string): Uint8Array | undefined {
  if (ended.end === TaskEnd.COULD_NOT_START) return undefined;
  // An exit code is an error if it is below zero, as those of programs that crash are on Windows: here it is a signal that ends them.
  return taskEndBytes(pipe, ended.exitCode !== undefined && ended.exitCode >= 0 ? 'Ok' : 'Error');
}

/** Adds tasks; if the runner finds fault with one, the others run, as at an agent that cannot start it. Answers who was added. */
function addTasks(session: HerdJobSession, tasks: readonly TaskRequest[], logger: Logger): string[] {
  const names = tasks.map(({ task }) => task.name);
  if (tasks.length === 0) return [];
  try {
    session.add({ tasks: tasks.map(({ task }) => task) });
    return names;
  } catch (error) {
    if (tasks.length > 1) return tasks.flatMap((task) => addTasks(session, [task], logger));
    logger.warn({ task: names[0], err: error }, `a task is left out: ${messageOf(error)}`);
    return [];
  }
}

/** The client hears nothing of it, as from a genuine agent: then the log must say why. */
function logFailedStart({ task, end, errorCode, errorMessage }: TaskEnded, logger: Logger): void {
  if (end !== TaskEnd.COULD_NOT_START) return;
  logger.warn({ task, code: errorCode }, `a task could not start: ${errorMessage}`);
}

function logOther(message: RunJobResponse['message'], logger: Logger): void {
  if (message.case !== 'missing') return;
  logger.info({ output: message.value.path, code: message.value.code }, 'an output is missing, and is left out');
}
