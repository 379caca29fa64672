import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  CompileAuditSchema,
  CompileOrigin,
  CompileResultSchema,
  OutputFileSchema,
  type Compile,
  type CompileAudit,
  type CompileResult,
} from '@drover/compile-protocol';
import { checkTaskToken, TaskTokenReplayGuard, type TaskTokenClaims, type TaskTokenKeys } from '@drover/compile-tokens';
import { silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import type { PreparedImage, SandboxPool } from '@drover/vm-runtime';
import { blake3Of } from '../blake3.ts';
import { checkArguments } from './check-arguments.ts';
import { CompilerDigests } from './compiler-digests.ts';
import { compressed, readPreprocessed, sourceBytesMax } from './read-source.ts';
import { runCompile, searchPathOf, type CompileRun } from './run-compile.ts';
import { compileError } from './worker-errors.ts';

/** An image that stays for as long as it is used. */
interface WorkerImageUse {
  readonly image: PreparedImage;
  release(): void;
}

/** Where a worker has its images from: the image catalogue, or what stands in for one where no image is needed. */
export interface WorkerImages {
  use(
    wanted: { readonly digest: string; readonly reference?: string | undefined },
    signal: AbortSignal,
  ): Promise<WorkerImageUse>;
  /** Those that are ready. */
  held(): readonly { readonly digest: string }[];
  /** Those that the worker stands for. */
  advertised(): readonly string[];
}

/** What a worker is made with. */
export interface CompileWorkerOptions {
  readonly workerId: string;
  /** Clients keep no caches; both sides must want it. */
  readonly paranoid: boolean;
  /** Compiles at once: sandboxes, times the uses of each. As many again may wait. */
  readonly slots: number;
  /** How long one may take. */
  readonly compileMsMax: number;
}

/** What it works with. */
export interface CompileWorkerDeps {
  readonly pool: SandboxPool;
  readonly images: WorkerImages;
  /** Those of the scheduler; none before the first authentication. */
  readonly keys: TaskTokenKeys;
  /** The registration that stands, which tokens name; undefined before there is one. */
  readonly epoch: () => number | undefined;
  /** Told of each compile that ran, whatever came of it. Absent: nobody is. */
  readonly onCompiled?: ((audit: CompileAudit) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly logger?: Logger | undefined;
}

/** A compile that counts as under way. */
export interface CompileInFlight {
  readonly compileId: string;
  readonly tenantId: string;
}

const compileIdPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
const variablesMax = 256;
const outputsMax = 64;
const textBytesMax = 16 * 1_024 ** 2;

/** Compiles for clients in sandboxes, each for the tenant that its token names. */
export class CompileWorker {
  readonly #options: CompileWorkerOptions;
  readonly #deps: CompileWorkerDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #replays = new TaskTokenReplayGuard();
  readonly #compilers = new CompilerDigests();
  readonly #inFlight = new Set<CompileInFlight>();
  #draining = false;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: CompileWorkerOptions, deps: CompileWorkerDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
  }

  /** Compiles under way, those that wait for a sandbox included. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** What could begin at once. */
  get slotsFree(): number {
    return this.#draining ? 0 : Math.max(0, this.#options.slots - this.#inFlight.size);
  }

  /** True once it takes no new compiles. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Whom a token lets compile what. Throws `SIGNING_KEYS_MISSING` before the first authentication, `TASK_TOKEN_…`. */
  checkToken(token: string): Promise<TaskTokenClaims> {
    const { keys, epoch } = this.#deps;
    const { workerId } = this.#options;
    return checkTaskToken(token, { keys, workerId, workerEpoch: epoch(), nowMs: this.#clock.wallMs() });
  }

  /** Counts a compile. Throws `WORKER_DRAINS`, `COMPILES_TOO_MANY`. Each is ended by {@link endCompile}. */
  beginCompile(compileId: string, tenantId: string): CompileInFlight {
    if (this.#draining) throw compileError('WORKER_DRAINS', 'this worker takes no new compiles');
    if (this.#inFlight.size >= 2 * this.#options.slots) {
      throw compileError(
        'COMPILES_TOO_MANY',
        `${this.#inFlight.size} compiles are under way or wait; that is all that may`,
      );
    }
    const inFlight = { compileId, tenantId };
    this.#inFlight.add(inFlight);
    return inFlight;
  }

  /** It is not under way any more. Idempotent. */
  endCompile(inFlight: CompileInFlight): void {
    this.#inFlight.delete(inFlight);
    if (this.#inFlight.size === 0) this.#idle?.resolve();
  }

  /** Takes no new compiles; resolves when none is under way. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#inFlight.size === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  /**
   * Compiles with a token that {@link checkToken} has answered for, once for each token. That the compiler failed is data; what is
   * thrown is ours. An abort kills the compiler.
   */
  async compile(compile: Compile, claims: TaskTokenClaims, signal: AbortSignal): Promise<CompileResult> {
    const inFlight = this.beginCompile(compile.compileId, claims.tenantId);
    try {
      this.#check(compile, claims);
      this.#replays.use(claims, this.#clock.wallMs());
      checkArguments(compile.arguments, compile.workingFolder);
      const { files, digest } = await readPreprocessed(compile);
      const { images, pool } = this.#deps;
      using stack = new DisposableStack();
      const reference = compile.imageReference === '' ? undefined : compile.imageReference;
      const used = await images.use({ digest: compile.imageDigest, reference }, signal);
      stack.defer(() => used.release());
      const startedMs = this.#clock.wallMs();
      const began = this.#clock.monotonicMs();
      const use = await pool.use(claims.tenantId, used.image, signal);
      // Idempotent: what runs the compile has released it already, unless it never began.
      stack.defer(() => use.release());
      const { id: sandboxId, isolation } = use.sandbox;
      const audit = create(CompileAuditSchema, {
        compileId: compile.compileId,
        tenantId: claims.tenantId,
        workerId: this.#options.workerId,
        sandboxId,
        isolationLevel: isolation.level,
        driver: isolation.driver,
        imageDigest: compile.imageDigest,
        sourceDigest: digest,
        flags: compile.arguments.slice(1),
        startedAt: timestampFromMs(startedMs),
        exitCode: -1,
      });
      try {
        const [compiler, searchPath] = [compile.arguments[0]!, searchPathOf(compile)];
        const asked = {
          sandbox: use.sandbox,
          imageDigest: compile.imageDigest,
          compiler,
          program: programOf(compile),
          searchPath,
        };
        audit.compilerDigest = await this.#compilers.of(asked, signal);
        const bounds = { timeoutMs: this.#options.compileMsMax, outputBytesMax: sourceBytesMax, textBytesMax };
        const run = await runCompile(use, compile, files, bounds, signal);
        audit.exitCode = run.signal === '' ? run.exitCode : -1;
        audit.outputDigest = blake3Of(...run.outputs.map(({ content }) => content));
        return await resultOf(run, audit);
      } finally {
        audit.took = durationFromMs(Math.round(this.#clock.monotonicMs() - began));
        this.#deps.onCompiled?.(audit);
      }
    } catch (error) {
      this.#logger.debug(
        { err: error, tenant: claims.tenantId, compileId: compile.compileId },
        'a compile has no result',
      );
      // The pool was closed under it.
      if ((error as Error).name === 'AbortError' && !signal.aborted) {
        throw compileError('COMPILE_SANDBOX_LOST', 'the sandbox was ended before it began', error);
      }
      throw error;
    } finally {
      this.endCompile(inFlight);
    }
  }

  #check(compile: Compile, claims: TaskTokenClaims): void {
    if (!compileIdPattern.test(compile.compileId)) {
      throw compileError('COMPILE_INVALID', 'compile_id is no UUID; allowed is one in lower case');
    }
    if (!digestPattern.test(compile.imageDigest)) {
      throw compileError('COMPILE_INVALID', 'image_digest is none; allowed is sha256: and 64 hexadecimal digits');
    }
    if (claims.imageDigest !== compile.imageDigest) {
      throw compileError(
        'COMPILE_TOKEN_OTHER_IMAGE',
        `the token is for the image ${claims.imageDigest}, not for ${compile.imageDigest}`,
      );
    }
    if (compile.paranoid !== this.#options.paranoid) {
      const [one, other] = compile.paranoid
        ? ['the client is', 'this worker is not']
        : ['this worker is', 'the client is not'];
      throw compileError(
        'COMPILE_PARANOIA_DIFFERS',
        `${one} paranoid and ${other}: set it on both sides, or on neither`,
      );
    }
    if (compile.outputs.length > outputsMax || Object.keys(compile.environment).length > variablesMax) {
      throw compileError('COMPILE_INVALID', `allowed are ${outputsMax} outputs and ${variablesMax} variables`);
    }
  }
}

/** What GCC's driver runs for the compile's language. */
function programOf({ arguments: args, source }: Compile): 'cc1' | 'cc1plus' {
  const language = args[args.lastIndexOf('-x') + 1] ?? '';
  const path = source.case === 'preprocessed' ? source.value.path : '';
  const isPlusPlus = /\+\+/.test(args[0]!) || (args.includes('-x') && language.startsWith('c++'));
  return isPlusPlus || /\.(?:ii|cc|cp|cxx|cpp|CPP|c\+\+|C)$/.test(path) ? 'cc1plus' : 'cc1';
}

async function resultOf(run: CompileRun, audit: CompileAudit): Promise<CompileResult> {
  const outputs = await Promise.all(
    run.outputs.map(async ({ path, mode, content }) =>
      create(OutputFileSchema, {
        path,
        mode,
        content: await compressed(content),
        sizeBytes: BigInt(content.byteLength),
        digest: blake3Of(content),
      }),
    ),
  );
  const { exitCode, signal, stdout, stderr } = run;
  return create(CompileResultSchema, {
    exitCode,
    signal,
    stdout,
    stderr,
    outputs,
    origin: CompileOrigin.COMPILED,
    audit,
  });
}
