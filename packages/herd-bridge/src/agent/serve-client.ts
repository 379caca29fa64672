import type { BlobPins, ContentStore } from '@drover/content-store';
import { PipeKind, type HerdJobRunner } from '@drover/herd-protocol';
import { DroverError, messageOf, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import { randomUUID } from 'node:crypto';
import { acquireText, internalTag, stopText, stoppedBytes, WireReader } from '../wire/index.ts';
import type { FullBridgeOptions } from './bridge-options.ts';
import type { ClientSocket } from './client-socket.ts';
import type { JobLine } from './job-line.ts';
import { beginRequest, taskRequests } from './job-request.ts';
import { receiveJob, type ReceivedJob } from './receive-job.ts';
import { runJob } from './run-job.ts';
import { sendResults } from './send-results.ts';

/** How a client's visit ended, for counters. */
export type VisitEnd = 'completed' | 'stopped' | 'gone' | 'refused' | 'failed';

/** What a client's visit needs. */
export interface VisitDeps {
  readonly options: FullBridgeOptions;
  readonly runner: HerdJobRunner;
  readonly content: ContentStore & BlobPins;
  readonly line: JobLine;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Aborted: jobs are cancelled, and clients told that they have ended. */
  readonly stopping: AbortSignal;
}

/**
 * Serves one connection to its end; never throws.
 *
 * ```
 * connected ─ acquire ─▶ in line ─ turn ─▶ receiving ─ </Job> ─▶ running ─ ended ─▶ answering ─▶ closed
 *     │ anything else        │ too long        │ wrong              │ Stop             ▲
 *     ▼                      └────────────────▶┴───────────────────▶│──▶ `Error running job` ─▶ closed
 *   closed, silently                            without results     └──────────────────┘
 * ```
 *
 * Whoever has acquired this agent is told that its job has ended, however it did: a genuine client never leaves a connection
 * that ends without it.
 */
export async function serveClient(client: ClientSocket, deps: VisitDeps): Promise<VisitEnd> {
  const { options, logger } = deps;
  const reader = new WireReader(client.pieces());
  let end: VisitEnd = 'refused';
  try {
    if (await acquires(reader, client, deps)) end = await new Visit(client, reader, deps).run();
    else logger.info({}, 'a client did not say that it takes this agent');
    await client.finish(options.lingerMs);
  } catch (error) {
    logger.info({ err: error }, `a client's connection broke: ${messageOf(error)}`);
    client.end(error);
    return 'gone';
  }
  return end;
}

/** Genuine agents want the message in their first read; here it may come in pieces, within a time. */
async function acquires(reader: WireReader, client: ClientSocket, deps: VisitDeps): Promise<boolean> {
  using _late = client.endAfter(deps.options.acquireMs, 'did not say that it takes this agent');
  using _stopped = onAbort(deps.stopping, () => client.end(deps.stopping.reason));
  const item = await reader.nextItem({ isEager: true });
  return item?.tag === internalTag && item.text === acquireText;
}

class Visit {
  readonly #client: ClientSocket;
  readonly #reader: WireReader;
  readonly #deps: VisitDeps;
  readonly #jobId = randomUUID();
  #jobName = '';
  #logger: Logger;

  constructor(client: ClientSocket, reader: WireReader, deps: VisitDeps) {
    this.#client = client;
    this.#reader = reader;
    this.#deps = deps;
    this.#logger = deps.logger.child({ jobId: this.#jobId });
  }

  async run(): Promise<VisitEnd> {
    const { stopping } = this.#deps;
    try {
      using _ = await this.#turn();
      const job = await this.#receive();
      return await this.#runReceived(job);
    } catch (error) {
      if (this.#client.lost.aborted) throw error;
      const isOurs = stopping.aborted;
      this.#logger.warn({ err: error, job: this.#jobName }, `a job ends without results: ${messageOf(error)}`);
      await this.#answer([], new Map());
      return isOurs ? 'gone' : 'failed';
    } finally {
      await this.#deps.content.unpin(this.#owner).catch(() => undefined);
    }
  }

  get #owner(): string {
    return `herd-legacy:${this.#jobId}`;
  }

  /** Waits until it is this client's turn and this agent takes jobs. */
  async #turn(): Promise<Disposable> {
    const { line, runner, options, clock, stopping } = this.#deps;
    const late = new AbortController();
    const timer = clock.schedule(options.waitMs, () => late.abort(waitedTooLong(options.waitMs)));
    const signal = AbortSignal.any([this.#client.lost, stopping, late.signal]);
    try {
      const place = await line.enter(signal);
      try {
        await untilOpen(runner, signal);
      } catch (error) {
        place[Symbol.dispose]();
        throw error;
      }
      return place;
    } finally {
      timer.cancel();
    }
  }

  async #receive(): Promise<ReceivedJob> {
    const { options, content, stopping } = this.#deps;
    using _ = this.#client.expectBytes();
    const job = await receiveJob(
      this.#reader,
      { ...options, textBytesMax: 16 * 1024 * 1024 },
      {
        content,
        spoolFolder: options.spoolFolder,
        owner: this.#owner,
        signal: AbortSignal.any([this.#client.lost, stopping]),
      },
      (name) => {
        this.#jobName = name;
      },
    );
    if (job.refused.length > 0) {
      this.#logger.warn(
        { job: job.name, names: job.refused },
        'files are left out: their names have no place in a job’s folder',
      );
    }
    return job;
  }

  async #runReceived(job: ReceivedJob): Promise<VisitEnd> {
    const { options, runner, content, clock, stopping } = this.#deps;
    const startedMs = clock.monotonicMs();
    const ending = new AbortController();
    const over = new AbortController();
    let overdue: ScheduledCall | undefined;
    const watch = this.#watch(ending);
    const isEnding = AbortSignal.any([ending.signal, this.#client.lost, stopping]);
    try {
      const session = await runner.begin(
        beginRequest(job, this.#jobId),
        { principal: { kind: 'user', id: `legacy@${this.#client.address}` }, signal: isEnding },
        { pipesFolder: options.pipesFolder, resumable: false, rawItems: true, together: true, plainNames: true },
      );
      await content.unpin(this.#owner);
      this.#logger.info(
        { job: job.name, client: this.#client.address, tasks: job.tasks.length, inputs: job.inputs.size },
        'a job of an original client begins',
      );
      using _ = onAbort(isEnding, () => {
        session.cancel();
        overdue = clock.schedule(options.cancelMs, () => over.abort(isEnding.reason));
      });
      const kind = options.pipeKind === 'fifo' ? PipeKind.FIFO : PipeKind.UNIX_SOCKET;
      const { found } = await runJob(
        session,
        taskRequests(job, session.folder, kind),
        { send: (bytes) => this.#client.write(bytes), isMuted: () => isEnding.aborted },
        this.#logger,
        over.signal,
      );
      if (isEnding.aborted) throw isEnding.reason;
      await this.#answer(job.outputs, found);
      this.#logger.info(
        { job: job.name, outputs: found.size, tookMs: Math.round(clock.monotonicMs() - startedMs) },
        'a job of an original client has ended',
      );
      return 'completed';
    } catch (error) {
      if (ending.signal.reason !== stopWish || this.#client.lost.aborted) throw error;
      this.#logger.info({ job: job.name }, 'a job was stopped by its client');
      await this.#client.write(stoppedBytes);
      return 'stopped';
    } finally {
      overdue?.cancel();
      watch[Symbol.dispose]();
    }
  }

  /** Tells `ending` when the client wants the job to stop, or cannot want its results any more. */
  #watch(ending: AbortController): Disposable {
    const { clock, options } = this.#deps;
    let timer: ScheduledCall | undefined;
    let isOver = false;
    const watch = async (): Promise<void> => {
      for (;;) {
        const item = await this.#reader.nextItem({ isEager: true });
        if (item === undefined) break;
        if (item.tag === internalTag && item.text === stopText) return ending.abort(stopWish);
      }
      if (!isOver) timer = clock.schedule(options.halfClosedMs, () => ending.abort(clientClosed()));
    };
    watch().catch((error: unknown) => ending.abort(error));
    return {
      [Symbol.dispose]: () => {
        isOver = true;
        timer?.cancel();
      },
    };
  }

  async #answer(outputs: ReceivedJob['outputs'], found: Parameters<typeof sendResults>[2]): Promise<void> {
    await sendResults(this.#jobName, outputs, found, {
      send: (bytes) => this.#client.write(bytes),
      content: this.#deps.content,
      logger: this.#logger,
      signal: this.#client.lost,
    });
  }
}

/** Why a job ends whose client said `Stop`. */
const stopWish = new DroverError({
  code: 'HERD_STOPPED',
  advice: 'cancelled',
  message: 'the client had the job stopped',
});

function onAbort(signal: AbortSignal, listener: () => void): Disposable {
  if (signal.aborted) listener();
  else signal.addEventListener('abort', listener, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', listener) };
}

/** Resolves when the runner takes jobs. */
async function untilOpen(runner: HerdJobRunner, signal: AbortSignal): Promise<void> {
  while (!runner.standing().open) {
    signal.throwIfAborted();
    const changed = Promise.withResolvers<void>();
    using _ = onAbort(signal, () => changed.reject(signal.reason));
    const stop = runner.onChange(() => changed.resolve());
    try {
      await changed.promise;
    } finally {
      stop();
    }
  }
}

function waitedTooLong(waitMs: number): DroverError {
  return new DroverError({
    code: 'HERD_WAITED_TOO_LONG',
    advice: 'exhausted',
    message: `a client waited ${waitMs} ms for its turn`,
  });
}

function clientClosed(): DroverError {
  return new DroverError({
    code: 'HERD_CLIENT_CLOSED',
    advice: 'cancelled',
    message: 'the client closed its half of the connection before its job had ended',
  });
}
