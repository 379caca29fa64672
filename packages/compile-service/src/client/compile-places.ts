import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { Client } from '@connectrpc/connect';
import { ReserveCompilesRequestSchema, type SchedulerService } from '@drover/compile-protocol';
import { DroverError, type Clock } from '@drover/lease-kit';

/** What places are asked for. */
export interface CompilePlacesOptions {
  /** `sha256:…`. */
  readonly imageDigest: string;
  /** Absent: the only tenant of the caller. */
  readonly tenantId?: string | undefined;
  /** At once, 1 to 256. Default 16. */
  readonly batch?: number;
}

/** What places are asked of. */
export interface CompilePlacesDeps {
  readonly scheduler: Pick<Client<typeof SchedulerService>, 'reserveCompiles'>;
  readonly clock: Clock;
}

/** Room for one compile on one worker. */
export interface CompileRoom {
  readonly workerId: string;
  /** HOST:PORT. */
  readonly address: string;
  /** Of its leaf certificate in DER. */
  readonly certificateSha256: Uint8Array;
  readonly token: string;
}

/** A token that ends sooner is not used: the worker may look at it later. */
const leftMsMin = 5_000;
/** How long a scheduler is not asked again that has nothing, and does not say when. */
const retryMs = 1_000;

/** Tokens for compiles, reserved in batches and kept until they are used or expire. */
export class CompilePlaces {
  readonly #options: CompilePlacesOptions;
  readonly #deps: CompilePlacesDeps;
  #rooms: (CompileRoom & { readonly expiresAtMs: number })[] = [];
  #asking: Promise<void> | undefined;
  #askAgainAtMs = -Infinity;

  constructor(options: CompilePlacesOptions, deps: CompilePlacesDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /**
   * A room, on none of the workers in `avoid` where there is another. Throws `COMPILE_PLACES_NONE` when the scheduler has
   * none, and what the call throws.
   */
  async take(avoid: readonly string[], signal: AbortSignal): Promise<CompileRoom> {
    const kept = this.#pick(avoid);
    if (kept !== undefined) return kept;
    if (this.#deps.clock.monotonicMs() < this.#askAgainAtMs) throw none();
    // One question at a time, whoever waits: each answer is for many.
    this.#asking ??= this.#ask(avoid).finally(() => (this.#asking = undefined));
    await this.#asking;
    signal.throwIfAborted();
    const room = this.#pick(avoid);
    if (room === undefined) throw none();
    return room;
  }

  /** Leaves out all rooms of a worker that cannot be reached. */
  forget(workerId: string): void {
    this.#rooms = this.#rooms.filter((room) => room.workerId !== workerId);
  }

  #pick(avoid: readonly string[]): CompileRoom | undefined {
    const nowMs = this.#deps.clock.monotonicMs();
    this.#rooms = this.#rooms.filter((room) => room.expiresAtMs > nowMs);
    const at = this.#rooms.findIndex((room) => !avoid.includes(room.workerId));
    return at < 0 ? undefined : this.#rooms.splice(at, 1)[0];
  }

  async #ask(avoid: readonly string[]): Promise<void> {
    const { imageDigest, tenantId = '', batch = 16 } = this.#options;
    const startedAtMs = this.#deps.clock.monotonicMs();
    const request = create(ReserveCompilesRequestSchema, {
      tenantId,
      imageDigest,
      count: batch,
      avoidWorkers: [...avoid],
      architecture: `${process.platform}-${process.arch}`,
    });
    const answer = await this.#deps.scheduler.reserveCompiles(request, { timeoutMs: 5_000 });
    const queues = answer.places.map((place) =>
      place.taskTokens.slice(0, 256).map((token) => ({
        workerId: place.workerId,
        address: place.address,
        certificateSha256: place.certificateSha256,
        token,
        expiresAtMs: startedAtMs + (place.validFor ? durationMs(place.validFor) : 0) - leftMsMin,
      })),
    );
    // By turns, so that the first of a batch do not all go to one worker.
    for (let turn = 0; queues.some((queue) => queue.length > turn); turn++) {
      for (const queue of queues) if (queue[turn] !== undefined) this.#rooms.push(queue[turn]!);
    }
    if (this.#rooms.length === 0) {
      this.#askAgainAtMs = startedAtMs + (answer.retryAfter ? durationMs(answer.retryAfter) : retryMs);
    }
  }
}

function none(): DroverError {
  return new DroverError({
    code: 'COMPILE_PLACES_NONE',
    advice: 'exhausted',
    message: 'No worker has room for this image now',
  });
}
