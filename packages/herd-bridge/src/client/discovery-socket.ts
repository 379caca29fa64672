import type { FoundAgent } from '@drover/herd-protocol';
import { createSocket, type Socket } from 'node:dgram';
import { discoveryRequestBytes, parseDiscoveryAnswer } from '../wire/index.ts';
import { foundLegacyAgent } from './found-legacy-agent.ts';

/** What a discovery socket is bound to, and what becomes of replies. */
export interface DiscoverySocketOptions {
  /** IPv4 address of this machine; `0.0.0.0`: whichever leads there. */
  readonly address: string;
  /** 0: any that is free. */
  readonly port: number;
  /** TCP port on which the agent of an address takes jobs. */
  readonly jobPortOf: (address: string) => number;
  readonly onAgent: (agent: FoundAgent) => void;
  /** What could not be sent, and what came in that was no description. */
  readonly onNote: (text: string) => void;
}

/** Asks original agents who they are, from one address of this machine. */
export class DiscoverySocket implements Disposable {
  readonly #socket: Socket;
  readonly #options: DiscoverySocketOptions;
  #askedAtMs = performance.now();
  #isClosed = false;

  private constructor(socket: Socket, options: DiscoverySocketOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on('message', (bytes, { address, port }) => this.#onReply(bytes, address, port));
    socket.on('error', (error) => options.onNote(`${options.address}: ${error.message}`));
  }

  /** Binds it; rejects with the platform's error, e.g. `EADDRINUSE`. */
  static open(options: DiscoverySocketOptions): Promise<DiscoverySocket> {
    const socket = createSocket('udp4');
    return new Promise((resolve, reject) => {
      const onError = (error: Error): void => {
        socket.close();
        reject(error);
      };
      socket.once('error', onError);
      socket.bind({ address: options.address, port: options.port, exclusive: true }, () => {
        socket.off('error', onError);
        socket.setBroadcast(true);
        resolve(new DiscoverySocket(socket, options));
      });
    });
  }

  /** Sends the request to an address, also one of a broadcast. What cannot be sent is noted. */
  ask(host: string, port: number): void {
    if (this.#isClosed) return;
    this.#askedAtMs = performance.now();
    this.#socket.send(discoveryRequestBytes, port, host, (error) => {
      if (error !== null && !this.#isClosed) {
        this.#options.onNote(`cannot ask ${host}:${port} from ${this.#options.address}: ${error.message}`);
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  #onReply(bytes: Buffer, host: string, port: number): void {
    const roundTripMs = performance.now() - this.#askedAtMs;
    const answer = bytes.byteLength > answerSizeBytesMax ? undefined : parseDiscoveryAnswer(bytes);
    if (answer === undefined)
      return this.#options.onNote(`what ${host}:${port} answered is not from an original agent`);
    this.#options.onAgent(foundLegacyAgent(answer, { host, jobPort: this.#options.jobPortOf(host), roundTripMs }));
  }
}

/** Genuine answers have about 350 bytes; so much may be kept of each address. */
const answerSizeBytesMax = 8192;
