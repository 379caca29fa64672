import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, resolve } from 'node:path';
import {
  expandResponseFiles,
  judgeSource,
  planCompile,
  type CompilePlan,
  type LocalReason,
} from '@drover/compiler-arguments';
import { messageOf, type Clock, type Logger } from '@drover/lease-kit';
import { blake3Of } from '../blake3.ts';
import { compilerFamilyOf } from './compiler-family.ts';
import type { LauncherReply, LauncherRequest } from './launcher-protocol.ts';
import type { RemoteCompiler, RemoteOutcome } from './remote-compiler.ts';
import { runStep } from './run-step.ts';
import { createSlots } from './slots.ts';
import { writeObject } from './write-object.ts';

/** Counts since the client began, by what became of compiles. */
export interface CompileStatistics {
  remote: number;
  /** Waited for an equal one that was under way. */
  shared: number;
  /** The compiler had something to say, so it was run here. */
  saidSomething: number;
  /** Drover failed, so the compiler was run here. */
  failed: number;
  /** Stays here by its nature. */
  local: Partial<Record<LocalReason | 'COMPILER', number>>;
}

/** Bounds. */
export interface CompileClientOptions {
  /** First steps at once. Default: processors and one. */
  readonly preprocessesMax?: number;
  /** Between two warnings of failures. Default a minute. */
  readonly warningIntervalMs?: number;
}

/** What it works with. */
export interface CompileClientDeps {
  readonly remote: Pick<RemoteCompiler, 'compile'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called with each failure of Drover's. */
  readonly onFailed?: (error: unknown) => void;
}

/** Decides for each compile, and does it where another machine can. Never fails: whatever goes wrong, the compiler runs here. */
export class CompileClient {
  readonly #deps: CompileClientDeps;
  readonly #warningIntervalMs: number;
  readonly #slots: ReturnType<typeof createSlots>;
  readonly #running = new Map<string, Promise<RemoteOutcome>>();
  #warnedAtMs = -Infinity;
  #statistics = emptyStatistics();

  constructor(options: CompileClientOptions, deps: CompileClientDeps) {
    this.#deps = deps;
    this.#warningIntervalMs = options.warningIntervalMs ?? 60_000;
    this.#slots = createSlots(options.preprocessesMax ?? availableParallelism() + 1);
  }

  get statistics(): Readonly<CompileStatistics> {
    return this.#statistics;
  }

  zeroStatistics(): void {
    this.#statistics = emptyStatistics();
  }

  /** What the launcher is to do. An abort, as of a launcher that is gone, ends what runs for it. */
  async handle(request: LauncherRequest, signal: AbortSignal): Promise<LauncherReply> {
    try {
      return await this.#handle(request, signal);
    } catch (error) {
      if (signal.aborted) return { kind: 'local', warning: '' };
      this.#statistics.failed++;
      this.#deps.onFailed?.(error);
      this.#deps.logger.warn({ error: messageOf(error) }, 'a compile runs here');
      const nowMs = this.#deps.clock.monotonicMs();
      if (nowMs - this.#warnedAtMs < this.#warningIntervalMs) return { kind: 'local', warning: '' };
      this.#warnedAtMs = nowMs;
      return {
        kind: 'local',
        warning: `drover: compiling here: ${messageOf(error).replaceAll(/\s+/g, ' ').slice(0, 500)}`,
      };
    }
  }

  async #handle(request: LauncherRequest, signal: AbortSignal): Promise<LauncherReply> {
    const { workingFolder, compiler, environment } = request;
    const family = await compilerFamilyOf(compiler, signal);
    if (family === undefined) return this.#local('COMPILER');
    const words = await expandResponseFiles(
      request.arguments,
      {},
      {
        readFile: (path) => readFile(resolve(workingFolder, path), 'utf8').catch(() => undefined),
      },
    );
    const plan = planCompile(words, { family, workingFolder, environment });
    if (plan.kind === 'local') return this.#local(plan.reason);
    const source = await this.#preprocessed(plan, request, signal);
    if (source === undefined) return { kind: 'local', warning: '' };
    const outcome = await this.#compiled(plan, basename(compiler), source, signal);
    if (outcome.kind === 'said-something') {
      this.#statistics.saidSomething++;
      return { kind: 'local', warning: '' };
    }
    await writeObject(resolve(workingFolder, plan.output), outcome.content, 0o666 & ~request.umask);
    this.#statistics.remote++;
    return { kind: 'done' };
  }

  /** Undefined: the compiler has something to say already, or the text must not leave. */
  async #preprocessed(plan: CompilePlan, request: LauncherRequest, signal: AbortSignal): Promise<Buffer | undefined> {
    using _slot = await this.#slots.take(signal);
    const first = await runStep(
      {
        program: request.compiler,
        arguments: plan.preprocessArguments,
        workingFolder: request.workingFolder,
        environment: request.environment,
      },
      signal,
    );
    if (first.exitCode !== 0 || first.hasSaid) {
      this.#statistics.saidSomething++;
      return undefined;
    }
    const judged = judgeSource(first.stdout, plan.mode);
    if (judged.kind === 'source') return judged.text;
    this.#local(judged.reason);
    return undefined;
  }

  /** One compile for all that are equal and come while it runs; each of them is ended by its own launcher alone. */
  async #compiled(plan: CompilePlan, name: string, source: Buffer, signal: AbortSignal): Promise<RemoteOutcome> {
    const compile = {
      arguments: [name, ...plan.compileArguments],
      source,
      entryPath: plan.entryPath,
      outputName: plan.outputName,
    };
    const key = createHash('sha256').update(JSON.stringify(compile.arguments)).update(blake3Of(source)).digest('hex');
    const running = this.#running.get(key);
    if (running !== undefined) {
      const outcome = await running.catch(() => undefined);
      // Its launcher may have been ended: that is no failure of this one.
      if (outcome !== undefined) {
        this.#statistics.shared++;
        return outcome;
      }
    }
    const begun = this.#deps.remote.compile(compile, signal);
    this.#running.set(key, begun);
    try {
      return await begun;
    } finally {
      if (this.#running.get(key) === begun) this.#running.delete(key);
    }
  }

  #local(reason: LocalReason | 'COMPILER'): LauncherReply {
    const counts = this.#statistics.local;
    counts[reason] = (counts[reason] ?? 0) + 1;
    return { kind: 'local', warning: '' };
  }
}

function emptyStatistics(): CompileStatistics {
  return { remote: 0, shared: 0, saidSomething: 0, failed: 0, local: {} };
}
