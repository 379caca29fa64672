import { create, type MessageInitShape } from '@bufbuild/protobuf';
import {
  BeginJobSchema,
  type FoundAgent,
  type HerdAgentLink,
  type HerdConnector,
  type HerdFile,
  type HerdJobCall,
  type LocalFile,
} from '@drover/herd-protocol';
import { delay, DroverError, messageOf, systemClock, type Clock } from '@drover/lease-kit';
import type { BlobDigest } from '@drover/lease-protocol';
import { discoveryPortDefault, fileSizeBytesMax } from '../wire/index.ts';
import { LegacyConnection, type LegacyWaits } from './legacy-connection.ts';
import { createLegacyFinder } from './legacy-finder.ts';
import { LegacyJobCall } from './legacy-job-call.ts';
import type { SentInput } from './send-job.ts';
import { StagedOutputs } from './staged-outputs.ts';
import { WireNames } from './wire-names.ts';

/** How jobs are given to original agents. */
export interface LegacyConnectorOptions extends Partial<LegacyWaits> {
  /**
   * `own`: each job in a folder of its own in the agent's tree, so that no file of an earlier job is taken for a result of this
   * one; the agent removes it after about two weeks. `shared`: as the original client has it. Default `own`.
   */
  readonly folder?: 'own' | 'shared' | undefined;
  /** True: one processor of an agent that has several gets no task, as the original client's option has it. Default false. */
  readonly leaveOneFree?: boolean | undefined;
  /** UDP port that agents are asked on whether they are free. Default 2333. */
  readonly discoveryPort?: number | undefined;
  /** How long an agent's answer to that is waited for. Default 2 s. */
  readonly discoveryTimeoutMs?: number | undefined;
  /** How long an agent that has just done a part of a job may be busy before the next. Default 30 s. */
  readonly busyTimeoutMs?: number | undefined;
  /** Folder that outputs are kept under until they are taken. Default: the platform's for temporary files. */
  readonly stagingFolder?: string | undefined;
}

/** What the connector uses, and tells. */
export interface LegacyConnectorDeps {
  /** Default: this process's. */
  readonly clock?: Clock | undefined;
  /** Called with what a person should know of an agent: that nothing was heard of it for a while, say. */
  readonly onNote?: ((agent: FoundAgent, text: string) => void) | undefined;
}

/**
 * Gives jobs to agents of the original Herd protocol. They know no identity and no encryption: whoever answers at the address
 * gets the files, so it is for networks that one trusts.
 */
export function createLegacyConnector(
  options: LegacyConnectorOptions = {},
  deps: LegacyConnectorDeps = {},
): HerdConnector {
  return {
    speaksTo: ({ protocol }) => protocol === 'legacy',
    async connect(agent, signal) {
      const link = new LegacyAgentLink(agent, options, deps, await StagedOutputs.open(options.stagingFolder));
      try {
        await link.ask(signal);
        return link;
      } catch (error) {
        await link[Symbol.asyncDispose]();
        throw error;
      }
    },
  };
}

const waitsDefault = { connectTimeoutMs: 10_000, silenceNoteMs: 20_000, stopGraceMs: 60_000 };
const fillMs = 50;

/** An agent that answered. Disposing closes a job's connection at once, which an agent does not always survive. There is no connection but that of a job: the first one would make the agent busy. */
class LegacyAgentLink implements HerdAgentLink {
  agent: FoundAgent;
  readonly #options: LegacyConnectorOptions;
  readonly #deps: LegacyConnectorDeps;
  readonly #clock: Clock;
  readonly #staged: StagedOutputs;
  readonly #sources = new Map<string, LocalFile>();
  readonly #closed = new AbortController();

  constructor(agent: FoundAgent, options: LegacyConnectorOptions, deps: LegacyConnectorDeps, staged: StagedOutputs) {
    this.agent = agent;
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#staged = staged;
  }

  /** The agent's state now. Throws `AGENT_UNREACHABLE`. */
  async ask(signal: AbortSignal): Promise<FoundAgent> {
    const { host, port } = this.agent.addresses[0]!;
    const { discoveryPort = discoveryPortDefault, discoveryTimeoutMs = 2000 } = this.#options;
    const finder = createLegacyFinder({ broadcast: false, hosts: [{ host, discoveryPort, jobPort: port }] });
    for await (const agent of finder.find({ timeoutMs: discoveryTimeoutMs, signal })) {
      this.agent = agent;
      return agent;
    }
    signal.throwIfAborted();
    throw new DroverError({
      code: 'AGENT_UNREACHABLE',
      advice: 'unavailable',
      message: `${host}:${discoveryPort} did not answer within ${discoveryTimeoutMs} ms; a job is not sent to an agent of unknown state, which may keep it waiting without a word`,
    });
  }

  /** Remembers them: the original protocol sends files with each job, and knows nothing of contents that are there. */
  send(files: readonly LocalFile[]): Promise<{ readonly sentBytes: number }> {
    for (const file of files) this.#sources.set(file.digest.hash, file);
    const sizes = new Map(files.map(({ digest }) => [digest.hash, Number(digest.sizeBytes)]));
    return Promise.resolve({ sentBytes: [...sizes.values()].reduce((sum, size) => sum + size, 0) });
  }

  async begin(init: MessageInitShape<typeof BeginJobSchema>, signal: AbortSignal): Promise<HerdJobCall> {
    const job = create(BeginJobSchema, init);
    const names = new WireNames({
      folder: this.#options.folder === 'shared' ? '' : `drover-${job.jobId.replaceAll('-', '').slice(0, 12)}`,
      isWindows: this.agent.architecture.startsWith('win32'),
    });
    try {
      for (const path of job.outputs) names.of(path);
      const call = new LegacyJobCall(
        {
          name: nameText(job.name),
          inputs: this.#inputs(job.inputs, names),
          inputPaths: new Set(job.inputs.map(({ path }) => path)),
          outputs: job.outputs,
          names,
          tasksAtATime: this.#tasksAtATime(),
          fillMs,
        },
        {
          clock: this.#clock,
          staged: this.#staged,
          inputsOf: (task) => this.#inputs(task.inputs, names),
          connect: () => this.#connect(this.#closed.signal),
          signal: this.#closed.signal,
        },
      );
      const { availability } = await this.ask(signal);
      if (availability !== 'available') throw busy(this.agent);
      return call;
    } catch (error) {
      throw jobInvalid(error);
    }
  }

  async receive(digest: BlobDigest, target: string): Promise<void> {
    await this.#staged.copyTo(digest, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(
      new DroverError({ code: 'LINK_CLOSED', advice: 'cancelled', message: 'the link to the agent was closed' }),
    );
    await this.#staged[Symbol.asyncDispose]();
  }

  /** Connects when the agent is free: one that works for another takes the connection, and then keeps silent. */
  async #connect(signal: AbortSignal): Promise<LegacyConnection> {
    const giveUpMs = this.#clock.monotonicMs() + (this.#options.busyTimeoutMs ?? 30_000);
    for (let waitMs = 50; ; waitMs = Math.min(waitMs * 2, 1000)) {
      const { availability } = await this.ask(signal);
      if (availability === 'available') break;
      if (this.#clock.monotonicMs() >= giveUpMs) throw busy(this.agent);
      await delay(this.#clock, waitMs, signal);
    }
    const { silenceLimitMs, ...waits } = { ...waitsDefault, ...withoutAbsent(this.#options) };
    const onNote = (text: string): void => this.#deps.onNote?.(this.agent, text);
    return LegacyConnection.open(
      this.agent.addresses[0]!,
      { ...waits, silenceLimitMs },
      { clock: this.#clock, onNote },
      signal,
    );
  }

  #tasksAtATime(): number {
    const { processors } = this.agent;
    if (processors === 0) {
      throw new DroverError({
        code: 'AGENT_WITHOUT_SLOTS',
        advice: 'unavailable',
        message: `${this.agent.name} does not say how many processors it has; such an agent gets no work`,
      });
    }
    return this.#options.leaveOneFree === true && processors > 1 ? processors - 1 : processors;
  }

  #inputs(files: readonly HerdFile[], names: WireNames): readonly SentInput[] {
    return files.map(({ path, digest }) => {
      const local = this.#sources.get(digest?.hash ?? '');
      if (local === undefined) {
        throw new DroverError({
          code: 'BLOB_NOT_FOUND',
          advice: 'not-found',
          message: `input ${JSON.stringify(path)} was not given with send()`,
        });
      }
      if (local.digest.sizeBytes > BigInt(fileSizeBytesMax)) {
        throw new DroverError({
          code: 'HERD_WIRE_NOT_SENDABLE',
          advice: 'fix-input',
          message: `input ${JSON.stringify(path)} has ${local.digest.sizeBytes} bytes; at most ${fileSizeBytesMax} can be sent in the original Herd protocol`,
        });
      }
      return { name: names.of(path), source: local.source, digest: local.digest };
    });
  }
}

/** It is for people at the other end alone: what cannot be said of it is left out. */
function nameText(name: string): string {
  return name.replace(/[^\x20-\x7e]|["<>]/g, '_').slice(0, 256) || 'job';
}

function busy({ name, availability }: FoundAgent): DroverError {
  return new DroverError({
    code: 'AGENT_BUSY',
    advice: 'unavailable',
    message: availability === 'busy' ? `${name} works for another client` : `${name} takes no jobs`,
    retryAfterMs: 2000,
  });
}

function jobInvalid(error: unknown): unknown {
  if (!(error instanceof DroverError) || error.code !== 'HERD_WIRE_NOT_SENDABLE') return error;
  return new DroverError({ code: 'HERD_JOB_INVALID', advice: 'fix-input', message: messageOf(error), cause: error });
}

function withoutAbsent({
  connectTimeoutMs,
  silenceNoteMs,
  silenceLimitMs,
  stopGraceMs,
}: LegacyConnectorOptions): Partial<LegacyWaits> {
  return {
    ...(connectTimeoutMs !== undefined && { connectTimeoutMs }),
    ...(silenceNoteMs !== undefined && { silenceNoteMs }),
    ...(silenceLimitMs !== undefined && { silenceLimitMs }),
    ...(stopGraceMs !== undefined && { stopGraceMs }),
  };
}
