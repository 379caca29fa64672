import { messageOf, type Clock, type Counter, type Logger } from '@drover/lease-kit';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { discoveryAnswerBytes, isDiscoveryRequest, type DiscoveryAnswer } from '../wire/index.ts';
import type { ClientNetworks } from './client-networks.ts';
import { portTaken } from './port-taken.ts';
import { SourceRate } from './source-rate.ts';

/** What answers discovery needs. */
export interface DiscoveryResponderDeps {
  readonly networks: ClientNetworks;
  /** What to answer now. */
  readonly answer: () => Promise<DiscoveryAnswer>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Counts datagrams by `result`. */
  readonly datagrams: Counter;
}

/** Answers discovery on one UDP port. */
export interface DiscoveryResponder extends AsyncDisposable {
  readonly port: number;
}

/** How long an answer is given again: asking anew for each would let anybody have the machine looked at all the time. */
const answerFreshMs = 500;
/** The answer is some 14 times as long as the request, so that nobody may have many of them sent to somebody else. */
const perSource = { burst: 20, perSecond: 5, sourcesMax: 4096 };
const together = { burst: 200, perSecond: 100, sourcesMax: 1 };

/** Listens. Throws `HERD_PORT_TAKEN`, or what the system says. */
export async function openDiscoveryResponder(
  host: string,
  port: number,
  deps: DiscoveryResponderDeps,
): Promise<DiscoveryResponder> {
  const { networks, clock, logger, datagrams } = deps;
  const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4' });
  const sources = new SourceRate(perSource, clock);
  const all = new SourceRate(together, clock);
  let answer: { readonly bytes: Promise<Buffer>; readonly atMs: number } | undefined;
  const freshAnswer = (): Promise<Buffer> => {
    const now = clock.monotonicMs();
    if (answer === undefined || now - answer.atMs > answerFreshMs) {
      answer = { bytes: deps.answer().then(discoveryAnswerBytes), atMs: now };
    }
    return answer.bytes;
  };
  const take = async (datagram: Uint8Array, from: RemoteInfo): Promise<string> => {
    if (!networks.has(from.address)) return 'not-allowed';
    if (!isDiscoveryRequest(datagram)) return 'not-understood';
    if (!sources.take(from.address) || !all.take('')) return 'too-many';
    const bytes = await freshAnswer();
    await new Promise<void>((resolve, reject) => {
      socket.send(bytes, from.port, from.address, (error) => (error === null ? resolve() : reject(error)));
    });
    return 'answered';
  };
  socket.on('message', (datagram, from) => {
    take(datagram, from).then(
      (result) => datagrams.add(1, { result }),
      (error: unknown) => {
        datagrams.add(1, { result: 'failed' });
        logger.debug({ err: error, client: from.address }, `discovery was not answered: ${messageOf(error)}`);
      },
    );
  });
  await bind(socket, host, port);
  socket.on('error', (err) => logger.warn({ err }, `discovery of the original Herd protocol: ${err.message}`));
  return {
    port: socket.address().port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => socket.close(resolve)),
  };
}

async function bind(socket: Socket, host: string, port: number): Promise<void> {
  const bound = Promise.withResolvers<void>();
  socket.once('error', bound.reject);
  socket.bind({ address: host, port, exclusive: true }, bound.resolve);
  try {
    await bound.promise;
  } catch (error) {
    socket.close();
    throw portTaken(error, 'UDP', host, port);
  } finally {
    socket.off('error', bound.reject);
  }
}
