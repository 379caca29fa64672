import type { Interceptor, StreamResponse } from '@connectrpc/connect';
import { systemClock, type Clock } from '@drover/lease-kit';
import { tokenExpired } from './access-errors.ts';
import { callerKey, type Caller } from './caller.ts';

/** Longest wait of a timer. */
const timerMsMax = 2 ** 31 - 1;

/**
 * A server interceptor that ends calls which are open when their caller's credential is revoked or expires: streams of answers,
 * and what a caller sends piece by piece for one answer.
 */
export function endWithCredential({ clock = systemClock }: { readonly clock?: Clock } = {}): Interceptor {
  return (next) => async (request) => {
    if (request.stream && request.method.methodKind === 'client_streaming') {
      const caller = request.contextValues.get(callerKey);
      const { ended } = caller;
      if (ended === undefined && caller.expiresAtMs === undefined) return next(request);
      const { message } = request;
      const messages = { [Symbol.asyncIterator]: () => new EndingIterator(message, caller, ended, clock) };
      return next({ ...request, message: messages as typeof message });
    }
    const response = await next(request);
    if (!response.stream) return response;
    const caller = request.contextValues.get(callerKey);
    const { ended } = caller;
    if (ended === undefined && caller.expiresAtMs === undefined) return response;
    const { service, method } = response;
    return {
      stream: true,
      service,
      method,
      message: { [Symbol.asyncIterator]: () => new EndingIterator(response.message, caller, ended, clock) },
      // Not spread: the headers come into being when somebody looks at them.
      get header() {
        return response.header;
      },
      get trailer() {
        return response.trailer;
      },
    } as StreamResponse;
  };
}

/** Messages until a credential ends. */
class EndingIterator<T> implements AsyncIterator<T> {
  readonly #inner: AsyncIterator<T>;
  readonly #release: () => void;
  #failure: unknown;
  #hasFailed = false;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(messages: AsyncIterable<T>, { expiresAtMs }: Caller, ended: AbortSignal | undefined, clock: Clock) {
    this.#inner = messages[Symbol.asyncIterator]();
    const onEnd = (): void => this.#end(ended?.reason);
    const expire = (): void => this.#end(tokenExpired('The credential of this call', expiresAtMs!));
    const leftMs = expiresAtMs === undefined ? Infinity : expiresAtMs - clock.wallMs();
    // Whoever is open for more than 24 days calls again.
    const timer = leftMs > timerMsMax ? undefined : clock.schedule(Math.max(0, leftMs), expire);
    ended?.addEventListener('abort', onEnd, { once: true });
    this.#release = () => {
      ended?.removeEventListener('abort', onEnd);
      timer?.cancel();
    };
    if (ended?.aborted === true) onEnd();
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#hasFailed) return Promise.reject(this.#failure);
    return new Promise<IteratorResult<T>>((resolve, reject) => {
      this.#reject = reject;
      this.#inner.next().then(
        (result) => {
          if (result.done === true) this.#release();
          resolve(result);
        },
        (error: unknown) => {
          this.#release();
          reject(error);
        },
      );
    });
  }

  return(value?: unknown): Promise<IteratorResult<T>> {
    this.#release();
    return this.#inner.return?.(value) ?? Promise.resolve({ done: true, value: undefined });
  }

  #end(failure: unknown): void {
    this.#release();
    this.#hasFailed = true;
    this.#failure = failure;
    this.#reject?.(failure);
    // It may wait for something that never comes; the end of the call aborts that.
    this.#inner.return?.().catch(() => undefined);
  }
}
