import type { Client } from '@connectrpc/connect';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { Clock, LeaseLink } from '@drover/lease-kit';
import {
  PollLeasesRequestSchema,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
  type LeaseService,
} from '@drover/lease-protocol';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import type { LinkMode } from './link-mode.ts';
import { OutgoingExchange, replaceExchange } from './outgoing-exchange.ts';

/** What a poll link needs from its client. */
export interface PollLinkDeps {
  readonly rpc: Client<typeof LeaseService>;
  readonly mode: LinkMode;
  readonly clock: Clock;
  /** When to end, so that the next link may be a stream again; undefined: never. */
  readonly untilMs: number | undefined;
  readonly waitMs: number;
  /** How long a call may take beyond the wait that it asked for. */
  readonly callTimeoutMs: number;
}

/** A poll that waits for news is not cut short before this, so that its answer has a chance to arrive. */
const dwellMsMin = 100;
/** How long the link waits for the agent's reaction to an answer before it polls again. */
const pauseMs = 50;

/**
 * A link of unary calls, one at a time: each carries what the agent wants to say, or repeats what it said last. When the
 * agent has news while a poll hangs, the poll is given up and a new one carries the news; an answer that is lost by that
 * does no harm, for the server repeats what was not acknowledged.
 */
export function openPollLink(deps: PollLinkDeps, signal: AbortSignal): LeaseLink {
  const { rpc, clock } = deps;
  const outgoing = new OutgoingExchange();
  const ended = new AbortController();
  const onAbort = () => void close();
  let closing = false;
  let quickestMs = Number.POSITIVE_INFINITY;

  const close = (): Promise<void> => {
    if (!closing) {
      closing = true;
      signal.removeEventListener('abort', onAbort);
      outgoing.close();
      ended.abort();
    }
    return Promise.resolve();
  };
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) void close();

  /** One poll. Undefined: given up because the agent has news. */
  async function poll(exchange: ExchangeLeasesRequest): Promise<ExchangeLeasesResponse | undefined> {
    const sentAtMs = clock.monotonicMs();
    const interrupted = new AbortController();
    const request = create(PollLeasesRequestSchema, { exchange, wait: durationFromMs(deps.waitMs) });
    // Twice the round trip, once it is known: a chatty agent must not cut off every answer before it arrives.
    const dwellMs = Math.max(dwellMsMin, quickestMs === Number.POSITIVE_INFINITY ? 1_000 : 2 * quickestMs);
    let interrupt: { cancel(): void } | undefined;
    outgoing.onNext(() => {
      const leftMs = Math.max(0, sentAtMs + dwellMs - clock.monotonicMs());
      interrupt = clock.schedule(leftMs, () => interrupted.abort());
    });
    try {
      const response = await rpc.pollLeases(request, {
        signal: AbortSignal.any([ended.signal, interrupted.signal]),
        timeoutMs: deps.waitMs + deps.callTimeoutMs,
      });
      quickestMs = Math.min(quickestMs, clock.monotonicMs() - sentAtMs);
      return response.exchange;
    } catch (error) {
      if (interrupted.signal.aborted || closing) return undefined;
      // An answer with news may be held back; an error never is.
      deps.mode.unaryAnswered(clock.monotonicMs() - sentAtMs);
      throw error;
    } finally {
      outgoing.onNext(() => undefined);
      interrupt?.cancel();
    }
  }

  /** Returns when the agent has something to say, or after a moment. */
  function pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = clock.schedule(pauseMs, resolve);
      outgoing.onNext(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  async function* messages(): AsyncGenerator<ExchangeLeasesResponse> {
    let last: ExchangeLeasesRequest | undefined;
    try {
      while (!closing) {
        if (!last && !outgoing.waiting) await new Promise<void>((resolve) => outgoing.onNext(resolve));
        if (deps.untilMs !== undefined && clock.monotonicMs() >= deps.untilMs) break;
        const fresh = outgoing.take();
        const next: ExchangeLeasesRequest | undefined = fresh && last ? replaceExchange(last, fresh) : (fresh ?? last);
        if (!next) continue;
        const answer = await poll(next);
        // Progress was said once; the copy is said again, which changes nothing at the other end. A description is said until
        // an answer proves that it arrived: it is not said on this link again.
        last = next.progress.length === 0 ? next : { ...next, progress: [] };
        if (answer && last.description) {
          const { description: _, ...rest } = last;
          last = rest;
        }
        if (!answer) continue;
        yield answer;
        // The agent usually has something to say to news: rather than repeat what is out of date, and rather than spin
        // when a server answers at once, give it a moment.
        await pause();
      }
    } catch (error) {
      if (closing) return;
      throw droverErrorFromConnect(error);
    } finally {
      await close();
    }
  }

  const iterator = messages();
  return {
    send: (message) => outgoing.put(message),
    messages: iterator,
    close,
    [Symbol.asyncDispose]: close,
  };
}
