import {
  DroverError,
  isDroverError,
  silentLogger,
  type LeaseClient,
  type LeaseLink,
  type Logger,
} from '@drover/lease-kit';
import type { ExchangeLeasesResponse } from '@drover/lease-protocol';

/** A {@link LeaseClient} of several servers that share a store. */
export interface RotatingLeaseClient extends LeaseClient {
  /** Index of the server that is called now. */
  readonly current: number;
}

/** Most servers of one agent. */
const clientsMax = 16;

/**
 * Calls one server at a time and goes on to the next when that one cannot be reached: a new session is asked of each in
 * turn until one answers, a link that breaks is opened once more with the same server, and one that gets no connection moves
 * on. The next server says `SESSION_UNKNOWN`, with which the agent opens a session there. What a server answers itself is
 * never a reason to move, but `unavailable` is. The caller closes the clients. Throws `LEASE_CLIENT_INVALID` for no clients
 * or more than 16.
 */
export function createRotatingLeaseClient(
  clients: readonly LeaseClient[],
  deps: { readonly logger?: Logger } = {},
): RotatingLeaseClient {
  if (clients.length < 1 || clients.length > clientsMax) {
    throw new DroverError({
      code: 'LEASE_CLIENT_INVALID',
      advice: 'fix-input',
      message: `servers: ${clients.length} are given; allowed are 1 to ${clientsMax}`,
    });
  }
  const { logger = silentLogger } = deps;
  let current = 0;

  const moveFrom = (index: number, error: unknown): void => {
    // Another call has moved already.
    if (index !== current || clients.length === 1) return;
    current = (index + 1) % clients.length;
    logger.info({ from: index, to: current, err: error }, 'the server cannot be reached: trying the next one');
  };

  return {
    get current() {
      return current;
    },
    async openSession(request, signal) {
      for (let tries = 1; ; tries += 1) {
        const index = current;
        try {
          return await clients[index]!.openSession(request, signal);
        } catch (error) {
          if (signal.aborted || !isAway(error)) throw error;
          moveFrom(index, error);
          if (tries >= clients.length) throw error;
        }
      }
    },
    link(signal) {
      const index = current;
      return watched(clients[index]!.link(signal), (error) => {
        if (!signal.aborted && isAway(error)) moveFrom(index, error);
      });
    },
    appendLog: (request, signal) => clients[current]!.appendLog(request, signal),
    fetchSecrets: (request, signal) => clients[current]!.fetchSecrets(request, signal),
  };
}

/** The link, which tells of a failure that came before any answer. */
function watched(link: LeaseLink, onNotReached: (error: unknown) => void): LeaseLink {
  async function* messages(): AsyncGenerator<ExchangeLeasesResponse> {
    let answered = false;
    try {
      for await (const message of link.messages) {
        answered = true;
        yield message;
      }
    } catch (error) {
      if (!answered) onNotReached(error);
      throw error;
    }
  }
  const iterator = messages();
  return {
    send: (message) => link.send(message),
    messages: iterator,
    close: () => link.close(),
    [Symbol.asyncDispose]: () => link.close(),
  };
}

/** No answer, or one that says that this server cannot help now. A stream that a proxy holds up is tried by polls first. */
function isAway(error: unknown): boolean {
  if (!isDroverError(error) || error.code === 'LINK_NOT_ANSWERED') return false;
  return error.advice === 'unavailable' || error.code === 'RPC_INTERNAL' || error.code === 'RPC_ABORTED';
}
