import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { ExchangeLeasesResponse } from '@drover/lease-protocol';
import type { CopyToSend, LeaseSession, SessionLink } from './lease-session.ts';
import { sessionUnknown } from './session-errors.ts';

/** A copy that was answered and is not acknowledged is answered again after this: its acknowledgement may be on its way. */
const repeatMs = 250;

interface Waiter {
  resolve(response: ExchangeLeasesResponse): void;
  reject(error: unknown): void;
}

/**
 * The link of an agent that polls. It stays open between polls: the session's time-out ends it when none comes. A copy is
 * kept until the agent acknowledges it, since nobody knows whether the answer of a poll arrived.
 */
export class PollLink implements SessionLink {
  readonly #session: LeaseSession;
  readonly #clock: Clock;
  #copy: CopyToSend | undefined;
  /** The revision that was answered last. */
  #answered = 0;
  #waiter: Waiter | undefined;
  #ended: { readonly error: unknown } | undefined;

  constructor(session: LeaseSession, clock: Clock) {
    this.#session = session;
    this.#clock = clock;
  }

  put(copy: CopyToSend): void {
    if (this.#waiter === undefined) {
      this.#copy = copy;
      return;
    }
    const { resolve } = this.#waiter;
    this.#waiter = undefined;
    resolve(copy());
  }

  /** A poll that is answered has to be made again: what can wait is not worth it. */
  hint(): boolean {
    return false;
  }

  end(error?: unknown): void {
    const why = error ?? sessionUnknown(this.#session.sessionId, 'its polls were replaced by a stream');
    this.#ended ??= { error: why };
    this.#waiter?.reject(this.#ended.error);
    this.#waiter = undefined;
  }

  /**
   * The answer of one poll: what is new, what the agent has not acknowledged, or after `waitMs` the newest copy again. A poll
   * that another one overtakes is answered at once.
   */
  async answer(acknowledged: number, waitMs: number, signal: AbortSignal): Promise<ExchangeLeasesResponse> {
    if (this.#ended !== undefined) throw this.#ended.error;
    this.#overtake();
    const last = this.#session.lastCopy;
    const owed = last !== undefined && acknowledged < last.revision;
    const fresh = this.#copy ?? (owed && this.#answered < last.revision ? last.response : undefined);
    this.#copy = undefined;
    this.#answered = last?.revision ?? 0;
    if (fresh !== undefined) return fresh();
    const { promise, resolve, reject } = Promise.withResolvers<ExchangeLeasesResponse>();
    const waiter: Waiter = { resolve, reject };
    this.#waiter = waiter;
    const overtake = (): void => {
      if (this.#waiter === waiter) this.#overtake();
    };
    const timer: ScheduledCall = this.#clock.schedule(owed ? Math.min(waitMs, repeatMs) : waitMs, overtake);
    signal.addEventListener('abort', overtake, { once: true });
    if (signal.aborted) overtake();
    try {
      return await promise;
    } finally {
      timer.cancel();
      signal.removeEventListener('abort', overtake);
    }
  }

  #overtake(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    const last = this.#session.lastCopy;
    if (last === undefined) waiter?.reject(sessionUnknown(this.#session.sessionId, 'it has not been loaded yet'));
    else waiter?.resolve(last.response());
  }
}
