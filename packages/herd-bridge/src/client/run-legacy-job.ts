import type { TaskItem } from '@drover/herd-protocol';
import { isDroverError, messageOf } from '@drover/lease-kit';
import { WireReader, internalTag, wireCutShort, wireInvalid } from '../wire/index.ts';
import { lost } from './agent-lost.ts';
import type { LegacyTask } from './legacy-task.ts';
import { sendJob, type JobSink, type SentInput } from './send-job.ts';
import type { StagedOutput, StagedOutputs } from './staged-outputs.ts';
import { taskNewsFrom } from './task-item.ts';

/** A job that is given to an agent whole. */
export interface LegacyJob {
  readonly name: string;
  readonly inputs: readonly SentInput[];
  /** At least one, each pipe once. */
  readonly tasks: readonly LegacyTask[];
  /** Names on the wire. */
  readonly outputs: ReadonlySet<string>;
}

/** How a task ended, as far as the agent told. */
export type LegacyTaskEnd = 'ok' | 'error' | 'unknown';

/** The connection that a job is given over. */
export interface AgentConnection extends JobSink, Disposable {
  /** What the agent sends, to its end. Throws `AGENT_LOST`. Once. */
  bytes(): AsyncIterable<Uint8Array>;
  /** The job was sent whole, and its tasks with it. */
  onSent(): void;
  /** True if the agent's last words, outside of any message, are that the job was stopped. */
  readonly saidStopped: boolean;
}

/** What became of a job. */
export interface LegacyJobResult {
  /** `stopped`: the agent ended it, and sends no outputs then. */
  readonly end: 'completed' | 'stopped';
  readonly tasks: ReadonlyMap<LegacyTask, LegacyTaskEnd>;
  /** By their names on the wire. */
  readonly outputs: ReadonlyMap<string, StagedOutput>;
}

/** What is told while a job runs: an item of a task, or the first sign of it. */
export interface LegacyTaskSign {
  readonly task: LegacyTask;
  readonly item: TaskItem['item'] | undefined;
}

/**
 * Has an agent run a job: sends it, yields what its tasks tell, and returns the results. Throws `AGENT_LOST` if the connection
 * ends before those, or the agent says what it may not; `HERD_INPUT_CHANGED` if an input did, after which nothing has run.
 */
export async function* runLegacyJob(
  job: LegacyJob,
  connection: AgentConnection,
  staged: StagedOutputs,
): AsyncGenerator<LegacyTaskSign, LegacyJobResult, undefined> {
  let sendFailure: unknown;
  const sending = sendJob(
    {
      name: job.name,
      inputs: job.inputs,
      tasks: job.tasks.map(({ tag }) => tag),
      outputs: [...job.outputs],
    },
    connection,
  ).then(
    (isComplete) => {
      if (isComplete) connection.onSent();
    },
    (error: unknown) => {
      sendFailure = error;
    },
  );
  const ends = new TaskEnds(job.tasks);
  const reader = new WireReader(connection.bytes());
  try {
    for (;;) {
      const item = await reader.nextItem();
      if (item === undefined) {
        if (connection.saidStopped || connection.isStopped) return stopped(ends);
        throw lost('it closed the connection while the job ran');
      }
      // Whatever its text: the original client takes each of the agent's own messages so.
      if (item.tag === internalTag) break;
      const news = taskNewsFrom(item.text);
      const task = ends.taskOf(item.tag);
      if (news?.kind === 'end') {
        ends.onEnd(item.tag, news.isOk);
        if (task !== undefined) yield { task, item: undefined };
      } else if (news !== undefined && task !== undefined) yield { task, item: news.item };
    }
    const outputs = await readResults(reader, job.outputs, staged);
    if (sendFailure !== undefined) throw sendFailure;
    return { end: 'completed', tasks: ends.told, outputs };
  } catch (error) {
    if (isDroverError(sendFailure, 'HERD_INPUT_CHANGED')) throw sendFailure;
    // An agent that did not read `Stop` resets the connection when it closes it; nothing of the job is wanted any more.
    if (connection.isStopped && isDroverError(error, 'AGENT_LOST')) return stopped(ends);
    if (isDroverError(error) && error.code.startsWith('HERD_WIRE_')) throw lost(messageOf(error), error);
    throw error;
  } finally {
    connection[Symbol.dispose]();
    await sending;
  }
}

function stopped(ends: TaskEnds): LegacyJobResult {
  return { end: 'stopped', tasks: ends.told, outputs: new Map() };
}

/** Reads the outputs. Throws `HERD_WIRE_INVALID` for one that was not asked for, or twice: nothing may be written as an agent likes. */
async function readResults(
  reader: WireReader,
  wanted: ReadonlySet<string>,
  staged: StagedOutputs,
): Promise<ReadonlyMap<string, StagedOutput>> {
  const outputs = new Map<string, StagedOutput>();
  // Its name is not compared, as the original client does not.
  if ((await reader.nextJob()) === undefined) throw wireCutShort('the results');
  for (;;) {
    const tag = await reader.nextTag();
    if (tag === undefined) throw wireCutShort('the results');
    if (tag.kind === 'job-end') return outputs;
    if (tag.kind !== 'output' || tag.sizeBytes === undefined) {
      throw wireInvalid(`a tag of the kind ${JSON.stringify(tag.kind)} stands in the results`);
    }
    if (!wanted.has(tag.name))
      throw wireInvalid(`the agent sends ${JSON.stringify(tag.name)}, which the job does not ask for`);
    if (outputs.has(tag.name)) throw wireInvalid(`the agent sends ${JSON.stringify(tag.name)} twice`);
    outputs.set(tag.name, await staged.keep(reader.content()));
  }
}

/** Which task ended how. The ends of tasks without a pipe all look alike, and are counted. */
class TaskEnds {
  readonly #byPipe: ReadonlyMap<string, LegacyTask>;
  readonly #withoutPipe: readonly LegacyTask[];
  readonly #told = new Map<LegacyTask, LegacyTaskEnd>();
  #okWithoutPipe = 0;
  #errorsWithoutPipe = 0;

  constructor(tasks: readonly LegacyTask[]) {
    this.#byPipe = new Map(tasks.filter(({ pipe }) => pipe !== '').map((task) => [task.pipe, task]));
    this.#withoutPipe = tasks.filter(({ pipe }) => pipe === '');
  }

  taskOf(pipe: string): LegacyTask | undefined {
    if (pipe !== '') return this.#byPipe.get(pipe);
    return this.#withoutPipe.length === 1 ? this.#withoutPipe[0] : undefined;
  }

  onEnd(pipe: string, isOk: boolean): void {
    const task = this.#byPipe.get(pipe);
    if (task !== undefined) this.#told.set(task, isOk ? 'ok' : 'error');
    else if (pipe === '' && isOk) this.#okWithoutPipe += 1;
    else if (pipe === '') this.#errorsWithoutPipe += 1;
  }

  /** Known for all that have a pipe, and for the others if all ended alike. */
  get told(): ReadonlyMap<LegacyTask, LegacyTaskEnd> {
    const count = this.#withoutPipe.length;
    const end = this.#okWithoutPipe >= count ? 'ok' : this.#errorsWithoutPipe >= count ? 'error' : 'unknown';
    const all = [...this.#byPipe.values()].map((task) => [task, this.#told.get(task) ?? 'unknown'] as const);
    return new Map([...all, ...this.#withoutPipe.map((task) => [task, end] as const)]);
  }
}
