import { DroverError, type Clock, type LeaseLink, type ScheduledCall } from '@drover/lease-kit';
import type { ExchangeLeasesRequest, ExchangeLeasesResponse } from '@drover/lease-protocol';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import type { LinkMode } from './link-mode.ts';
import { OutgoingExchange } from './outgoing-exchange.ts';

/** The call that a stream is: requests go as they come, answers come until the signal is aborted. */
export type Exchange = (
  requests: AsyncIterable<ExchangeLeasesRequest>,
  options: { readonly signal: AbortSignal },
) => AsyncIterable<ExchangeLeasesResponse>;

/** What a stream link needs from its client. */
export interface StreamLinkDeps {
  readonly exchange: Exchange;
  readonly mode: LinkMode;
  readonly clock: Clock;
  readonly firstAnswerMs: number;
  readonly quickBreakMs: number;
}

/** Opens a bidirectional stream as a link. It tells `mode` how streams fare on the way to this server. */
export function openStreamLink(deps: StreamLinkDeps, signal: AbortSignal): LeaseLink {
  const { exchange, mode, clock } = deps;
  const outgoing = new OutgoingExchange();
  const ended = new AbortController();
  const onAbort = () => void close();
  let sentAtMs: number | undefined;
  let answered = false;
  let noAnswer: ScheduledCall | undefined;
  let closing = false;

  const close = (): Promise<void> => {
    if (closing) return Promise.resolve();
    closing = true;
    signal.removeEventListener('abort', onAbort);
    noAnswer?.cancel();
    outgoing.close();
    ended.abort();
    return Promise.resolve();
  };
  signal.addEventListener('abort', onAbort);
  if (signal.aborted) void close();

  const onTaken = () => {
    if (sentAtMs !== undefined) return;
    sentAtMs = clock.monotonicMs();
    noAnswer = clock.schedule(deps.firstAnswerMs, () => {
      if (answered || closing) return;
      mode.streamNotAnswered();
      ended.abort(
        new DroverError({
          code: 'LINK_NOT_ANSWERED',
          advice: 'unavailable',
          message: `The first message on a stream had no answer within ${deps.firstAnswerMs} ms`,
        }),
      );
    });
  };
  const judgeEnd = (error: DroverError | undefined) => {
    // Never sent: there was no connection, which says nothing about streams. An answer of the server's own is no break.
    if (sentAtMs === undefined || (error && !error.code.startsWith('RPC_'))) return;
    if (error?.code === 'RPC_UNIMPLEMENTED') mode.streamBlocked('the way to the server refuses streams');
    else mode.streamBroke(clock.monotonicMs() - sentAtMs);
  };

  async function* messages(): AsyncGenerator<ExchangeLeasesResponse> {
    try {
      for await (const message of exchange(outgoing.stream(onTaken), { signal: ended.signal })) {
        if (!answered) {
          answered = true;
          noAnswer?.cancel();
        } else if (sentAtMs !== undefined && clock.monotonicMs() - sentAtMs >= deps.quickBreakMs) {
          mode.streamLived();
        }
        yield message;
      }
      if (!closing) judgeEnd(undefined);
    } catch (error) {
      if (closing) return;
      const failure = droverErrorFromConnect(ended.signal.reason instanceof DroverError ? ended.signal.reason : error);
      judgeEnd(failure);
      throw failure;
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
