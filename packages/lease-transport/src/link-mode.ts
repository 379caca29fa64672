import type { Clock, Logger } from '@drover/lease-kit';

/** When a client gives up on streams, and for how long. */
export interface PollFallbackOptions {
  /** A stream whose first message has no answer after this is taken for broken by a proxy. Default 10 s. */
  readonly firstAnswerMs?: number;
  /** A stream that breaks sooner than this is a quick break. Default 5 s. */
  readonly quickBreakMs?: number;
  /** After so many quick breaks in a row the client polls. Default 3. */
  readonly quickBreaksMax?: number;
  /** How long it polls before it tries a stream again; doubled every time that fails, at most 1 h. Default 5 min. */
  readonly pollingMs?: number;
  /** How long a server may hold the answer to a poll while it has no news; 1 s to 60 s. Default 20 s. */
  readonly waitMs?: number;
}

const pollingMsMax = 3_600_000;

/**
 * Decides whether the next link of a client is a stream or polls.
 *
 * ```
 *            no answer, or quickBreaksMax quick breaks
 *   stream ───────────────────────────────────────────▶ polling
 *      ▲                   pollingMs over                  │
 *      └───── or: no answer, but unary calls are slow too ───┘
 * ```
 */
export class LinkMode {
  readonly #options: Required<PollFallbackOptions>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #quickBreaks = 0;
  #fallbacks = 0;
  #pollUntilMs: number | undefined;
  /** It polls because a stream had no answer, which a server that is very busy does not give either. */
  #suspected = false;

  constructor(options: Required<PollFallbackOptions>, clock: Clock, logger: Logger) {
    this.#options = options;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Until when (monotonic) the next link polls; undefined: it is a stream. */
  get pollUntilMs(): number | undefined {
    if (this.#pollUntilMs !== undefined && this.#clock.monotonicMs() >= this.#pollUntilMs) {
      this.#pollUntilMs = undefined;
      // One more quick break than allowed already: a stream on probation gets one chance.
      this.#quickBreaks = this.#options.quickBreaksMax - 1;
    }
    return this.#pollUntilMs;
  }

  /** A stream has lived for longer than a quick break. */
  streamLived(): void {
    this.#quickBreaks = 0;
    this.#fallbacks = 0;
  }

  /** A stream ended that was open for `livedMs`, not by our own wish or the server's word. */
  streamBroke(livedMs: number): void {
    if (livedMs >= this.#options.quickBreakMs) return this.streamLived();
    this.#quickBreaks += 1;
    if (this.#quickBreaks >= this.#options.quickBreaksMax) {
      this.#fallBack(`${this.#quickBreaks} streams in a row broke within ${this.#options.quickBreakMs} ms`);
    }
  }

  /** The way to the server refuses streams. */
  streamBlocked(why: string): void {
    this.#fallBack(why);
  }

  /** The first message of a stream got no answer. */
  streamNotAnswered(): void {
    this.#fallBack(`a stream's first message had no answer within ${this.#options.firstAnswerMs} ms`);
    this.#suspected = true;
  }

  /**
   * A unary call was answered after this time. One that takes long as well shows that the server was busy and not that
   * something holds streams back: the next link is a stream again.
   */
  unaryAnswered(tookMs: number): void {
    if (!this.#suspected || tookMs < this.#options.firstAnswerMs / 4) return;
    this.#suspected = false;
    this.#pollUntilMs = undefined;
    this.#fallbacks = 0;
    this.#logger.info({ tookMs }, 'the server was busy; the next link is a stream again');
  }

  #fallBack(why: string): void {
    const forMs = Math.min(pollingMsMax, this.#options.pollingMs * 2 ** Math.min(10, this.#fallbacks));
    this.#fallbacks += 1;
    this.#quickBreaks = 0;
    this.#suspected = false;
    this.#pollUntilMs = this.#clock.monotonicMs() + forMs;
    this.#logger.warn({ pollingMs: forMs, reason: why }, 'streams do not get through; polling instead');
  }
}
