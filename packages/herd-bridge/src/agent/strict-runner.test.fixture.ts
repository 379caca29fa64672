import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { digestFromWire, digestOfBytes, digestToWire, type LocalContentStore } from '@drover/content-store';
import {
  AddTasksSchema,
  BeginJobSchema,
  JobEnd,
  RunJobResponseSchema,
  TaskEnd,
  type BeginJob,
  type BeginOptions,
  type HerdCallContext,
  type HerdJobRunner,
  type HerdJobSession,
  type HerdTask,
  type RunJobResponse,
} from '@drover/herd-protocol';
import { posix } from 'node:path';

/** A process in a test: it may say items, write files, and wait; `signal` is aborted when it is killed. */
export type Play = (task: HerdTask, own: PlayedTask) => Promise<Ending | undefined>;

export interface PlayedTask {
  readonly files: Map<string, Buffer>;
  readonly folder: string;
  readonly signal: AbortSignal;
  say(item: string): void;
}

/** How a process ended; absent: exit code 0. */
export type Ending = { readonly exitCode: number } | { readonly signal: string } | 'could-not-start';

export interface BegunJob {
  readonly begin: BeginJob;
  readonly options: BeginOptions;
  readonly principal: string;
  readonly tasks: HerdTask[];
  readonly cancelled: PromiseWithResolvers<void>;
  readonly ended: PromiseWithResolvers<JobEnd>;
}

export interface StrictRunner extends HerdJobRunner {
  readonly jobs: BegunJob[];
  /** Resolves when so many jobs have begun. */
  begun(count: number): Promise<BegunJob>;
  setOpen(open: boolean): void;
}

type Message = NonNullable<MessageInitShape<typeof RunJobResponseSchema>['message']>;

/** A runner without processes or folders that finds fault with whatever the contract does not allow. */
export function strictRunner(content: LocalContentStore, play: Play, creditsAtOnce = 2): StrictRunner {
  const jobs: BegunJob[] = [];
  const listeners = new Set<() => void>();
  const waiting = new Set<() => void>();
  let open = true;
  return {
    jobs,
    async begun(count) {
      while (jobs.length < count) {
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
      return jobs[count - 1]!;
    },
    setOpen(now) {
      open = now;
      for (const listener of listeners) listener();
    },
    standing: () => ({ slotsTotal: 4, slotsFree: 4, open }),
    onChange(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    find: () => {
      throw new Error('is not used');
    },
    async begin(init, { principal, signal }: HerdCallContext, options = {}) {
      signal.throwIfAborted();
      if (!open) throw new Error('closed');
      const begin = create(BeginJobSchema, init);
      const files = await checkBegin(begin, content);
      const job: BegunJob = {
        begin,
        options,
        principal: `${principal.kind}:${principal.id}`,
        tasks: [],
        cancelled: Promise.withResolvers(),
        ended: Promise.withResolvers(),
      };
      jobs.push(job);
      for (const wake of waiting) wake();
      waiting.clear();
      return session(job, files, content, play, creditsAtOnce);
    },
  };
}

async function checkBegin(begin: BeginJob, content: LocalContentStore): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const paths = [...begin.inputs.map(({ path }) => path), ...begin.outputs];
  for (const path of paths) {
    if (path === '' || path !== posix.normalize(path) || path.startsWith('/') || path.startsWith('..')) {
      throw new Error(`path ${path}`);
    }
  }
  if (new Set(begin.outputs).size !== begin.outputs.length) throw new Error('outputs repeat');
  for (const { path, digest } of begin.inputs) {
    if (files.has(path)) throw new Error(`input ${path} repeats`);
    const pieces: Uint8Array[] = [];
    for await (const piece of content.read(digestFromWire(digest!))) pieces.push(piece);
    files.set(path, Buffer.concat(pieces));
  }
  return files;
}

function session(
  job: BegunJob,
  files: Map<string, Buffer>,
  content: LocalContentStore,
  play: Play,
  creditsAtOnce: number,
): HerdJobSession {
  const folder = `/jobs/${job.begin.jobId}`;
  const kept: RunJobResponse[] = [];
  const killing = new AbortController();
  let wake = (): void => undefined;
  let credits = creditsAtOnce;
  let running = 0;
  let isFinished = false;
  const push = (message: Message): void => {
    kept.push(create(RunJobResponseSchema, { sequence: BigInt(kept.length + 1), message }));
    wake();
  };
  const endIfDone = async (): Promise<void> => {
    if (!isFinished || running > 0) return;
    running = -1;
    for (const path of job.begin.outputs) {
      const bytes = files.get(path);
      if (bytes === undefined) push({ case: 'missing', value: { path, code: 'OUTPUT_NOT_FOUND' } });
      else {
        const digest = digestOfBytes(bytes);
        await content.write(digest, bytes);
        push({ case: 'output', value: { file: { path, digest: digestToWire(digest) } } });
      }
    }
    const end = killing.signal.aborted ? JobEnd.CANCELLED : JobEnd.COMPLETED;
    push({ case: 'jobEnded', value: { end } });
    job.ended.resolve(end);
  };
  const run = async (task: HerdTask): Promise<void> => {
    const ending = await play(task, {
      files,
      folder,
      signal: killing.signal,
      say: (raw) => push({ case: 'item', value: { task: task.name, item: { case: 'raw', value: raw } } }),
    });
    const end =
      ending === 'could-not-start'
        ? { end: TaskEnd.COULD_NOT_START }
        : ending !== undefined && 'signal' in ending
          ? { end: TaskEnd.FAILED, signal: ending.signal }
          : { end: ending?.exitCode ? TaskEnd.FAILED : TaskEnd.SUCCEEDED, exitCode: ending?.exitCode ?? 0 };
    push({ case: 'ended', value: { task: task.name, ...end } });
    running -= 1;
    credits += 1;
    if (!isFinished) push({ case: 'credits', value: { tasks: 1 } });
    await endIfDone();
  };
  push({ case: 'begun', value: { slotsTotal: 4 } });
  push({ case: 'credits', value: { tasks: creditsAtOnce } });
  return {
    jobId: job.begin.jobId,
    folder,
    add(init) {
      const { tasks } = create(AddTasksSchema, init);
      if (isFinished) throw new Error('finished');
      if (tasks.length > credits) throw new Error('beyond the credits');
      for (const { name, exe, workingFolder } of tasks) {
        if (name === '' || name.length > 128 || job.tasks.some((other) => other.name === name))
          throw new Error(`name ${name}`);
        if (!exe.startsWith(`${folder}/`) || exe !== posix.normalize(exe)) throw new Error(`exe ${exe}`);
        if (workingFolder.startsWith('/') || workingFolder.includes('..')) throw new Error(`folder ${workingFolder}`);
      }
      credits -= tasks.length;
      running += tasks.length;
      job.tasks.push(...tasks);
      for (const task of tasks) void run(task);
    },
    cancel() {
      isFinished = true;
      killing.abort();
      job.cancelled.resolve();
      void endIfDone();
    },
    finish() {
      isFinished = true;
      void endIfDone();
    },
    async *responses(afterSequence, signal) {
      for (let at = Number(afterSequence); ; at += 1) {
        while (at >= kept.length) {
          signal.throwIfAborted();
          const came = Promise.withResolvers<void>();
          wake = came.resolve;
          const onAbort = (): void => came.reject(signal.reason);
          signal.addEventListener('abort', onAbort, { once: true });
          await came.promise.finally(() => signal.removeEventListener('abort', onAbort));
        }
        yield kept[at]!;
        if (kept[at]!.message.case === 'jobEnded') return;
      }
    },
    acknowledge: () => undefined,
  };
}
