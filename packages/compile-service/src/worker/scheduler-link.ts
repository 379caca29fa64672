import { durationMs } from '@bufbuild/protobuf/wkt';
import { createClient, type Client, type Transport } from '@connectrpc/connect';
import { SandboxState, SchedulerService, type RegisterWorkerRequest } from '@drover/compile-protocol';
import { TaskTokenKeys } from '@drover/compile-tokens';
import { delay, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import type { SandboxPool } from '@drover/vm-runtime';
import { randomBytes } from 'node:crypto';
import type { AuditOutbox } from './audit-outbox.ts';
import type { CompileWorker, WorkerImages } from './compile-worker.ts';

/** What a worker says of itself. */
export interface SchedulerLinkOptions {
  readonly workerId: string;
  readonly workerToken: string;
  /** What it registers as; the images come from the catalogue. */
  readonly registration: Pick<
    RegisterWorkerRequest,
    'publicAddress' | 'certificateSha256' | 'slotsTotal' | 'paranoid' | 'version' | 'architecture'
  > & {
    readonly isolation: {
      readonly driver: string;
      readonly level: string;
      readonly facts: Readonly<Record<string, string>>;
    };
  };
}

/** What a link works with. */
export interface SchedulerLinkDeps {
  /** To the server. */
  readonly transport: Transport;
  readonly outbox: AuditOutbox;
  readonly images: Pick<WorkerImages, 'held' | 'advertised'>;
  readonly pool: Pick<SandboxPool, 'list'>;
  /** Share of the machine's processors in use since it was asked last, 0 to 1. */
  readonly load: () => number;
  readonly clock?: Clock | undefined;
  readonly logger?: Logger | undefined;
}

const callMs = 10_000;
const retryMsMin = 1_000;
const retryMsMax = 15_000;
const heartbeatMsDefault = 10_000;
const imagesMax = 1_000;
const sandboxStates = {
  starting: SandboxState.STARTING,
  running: SandboxState.RUNNING,
  stopping: SandboxState.RUNNING,
} as const;

/**
 * A worker's link to the scheduler: it opens a session, registers, and says every 10 s how the worker is. When that fails it begins
 * anew, for as long as it takes; what compiles goes on meanwhile.
 */
export class SchedulerLink implements AsyncDisposable {
  /** The scheduler's keys; none before the first authentication. */
  readonly keys = new TaskTokenKeys();
  readonly #options: SchedulerLinkOptions;
  readonly #deps: SchedulerLinkDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #client: Client<typeof SchedulerService>;
  readonly #nonce = new Uint8Array(randomBytes(16));
  readonly #ending = new AbortController();
  readonly #registered = Promise.withResolvers<void>();
  #session: { token: string; heartbeatMs: number } | undefined;
  #epoch: bigint | undefined;
  #running: Promise<void> | undefined;

  constructor(options: SchedulerLinkOptions, deps: SchedulerLinkDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#client = createClient(SchedulerService, deps.transport);
  }

  /** The registration that stands; undefined before the first. */
  get epoch(): number | undefined {
    return this.#epoch === undefined ? undefined : Number(this.#epoch);
  }

  /** True while the scheduler hears this worker. */
  get connected(): boolean {
    return this.#session !== undefined;
  }

  /** Resolves at the first registration. */
  get registered(): Promise<void> {
    return this.#registered.promise;
  }

  /** Begins; again: nothing. */
  start(worker: CompileWorker): void {
    this.#running ??= this.#run(worker, this.#ending.signal);
  }

  /** Says goodbye with a last heartbeat and the records that wait, as far as the scheduler takes them. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }

  async #run(worker: CompileWorker, signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      let waitMs: number;
      try {
        this.#session ??= await this.#open(signal);
        await this.#beat(worker, this.#session, signal);
        await this.#tell(this.#session, signal);
        waitMs = this.#session.heartbeatMs;
        failures = 0;
      } catch (error) {
        if (signal.aborted) break;
        const { code, message, retryAfterMs } = droverErrorFromConnect(error);
        failures += 1;
        const level = failures === 1 ? 'warn' : 'debug';
        this.#logger[level](
          { code, reason: message },
          'the scheduler does not hear this worker; what compiles goes on',
        );
        this.#session = undefined;
        waitMs = retryAfterMs ?? Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures - 1, 8));
      }
      await delay(this.#clock, waitMs, signal);
    }
    if (this.#session === undefined) return;
    // The last word: it takes no more, and what it has compiled.
    const last = AbortSignal.timeout(callMs);
    try {
      await this.#beat(worker, this.#session, last);
      await this.#tell(this.#session, last);
    } catch (error) {
      this.#logger.debug({ err: error }, 'the scheduler was not told of the end');
    }
  }

  async #open(signal: AbortSignal): Promise<{ token: string; heartbeatMs: number }> {
    const { workerId, workerToken, registration } = this.#options;
    const opened = await this.#client.openWorkerSession(
      { workerToken, workerId, instanceNonce: this.#nonce },
      { signal, timeoutMs: callMs },
    );
    this.keys.replace(opened.signingKeys);
    const { images } = this.#deps;
    const { epoch } = await this.#client.registerWorker(
      {
        ...registration,
        isolation: { ...registration.isolation, facts: { ...registration.isolation.facts } },
        imagesAdvertised: images.advertised().slice(0, imagesMax),
      },
      { signal, timeoutMs: callMs, headers: headersOf(opened.sessionToken) },
    );
    this.#epoch = epoch;
    this.#registered.resolve();
    this.#logger.info({ epoch: Number(epoch) }, 'this worker is registered');
    const { heartbeatInterval } = opened;
    const heartbeatMs = heartbeatInterval === undefined ? heartbeatMsDefault : durationMs(heartbeatInterval);
    return { token: opened.sessionToken, heartbeatMs: Math.max(100, heartbeatMs) };
  }

  async #beat(worker: CompileWorker, session: { token: string }, signal: AbortSignal): Promise<void> {
    const { images, pool, load } = this.#deps;
    const answer = await this.#client.heartbeat(
      {
        epoch: this.#epoch ?? 0n,
        compiles: worker.inFlight,
        slotsFree: worker.slotsFree,
        load: load(),
        imagesHeld: images
          .held()
          .slice(0, imagesMax)
          .map(({ digest }) => digest),
        imagesAdvertised: images.advertised().slice(0, imagesMax),
        sandboxes: pool.list().map(({ id, tenant, imageDigest, state, uses }) => ({
          sandboxId: id,
          tenantId: tenant,
          imageDigest,
          state: sandboxStates[state],
          execs: uses,
        })),
        draining: worker.draining,
      },
      { signal, timeoutMs: callMs, headers: headersOf(session.token) },
    );
    if (answer.signingKeys.length > 0) this.keys.replace(answer.signingKeys);
    if (answer.sessionToken !== '') session.token = answer.sessionToken;
  }

  async #tell({ token }: { token: string }, signal: AbortSignal): Promise<void> {
    await this.#deps.outbox.flush((compiles) =>
      this.#client.recordCompiles({ compiles }, { signal, timeoutMs: callMs, headers: headersOf(token) }),
    );
  }
}

function headersOf(token: string): { authorization: string } {
  return { authorization: `Bearer ${token}` };
}
