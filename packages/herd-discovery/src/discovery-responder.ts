import { create } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema, type AgentAnnouncement, type DiscoveryRequest } from '@drover/herd-protocol';
import {
  DroverError,
  messageOf,
  silentLogger,
  silentMeter,
  systemClock,
  type Clock,
  type Counter,
  type Logger,
  type Meter,
  type ScheduledCall,
} from '@drover/lease-kit';
import type { RemoteInfo, Socket } from 'node:dgram';
import { isAnswerable, limitedSource } from './answerable-source.ts';
import {
  datagramSizeBytesMax,
  decodeRequest,
  discoveryGroup,
  discoveryPortDefault,
  encodeReply,
  herdProtocols,
  signedBytes,
} from './discovery-wire.ts';
import { fitAnnouncement } from './fit-announcement.ts';
import { GroupMembership } from './group-membership.ts';
import { broadcastAddress, interfaceAddresses, type InterfaceAddress } from './link-addresses.ts';
import { SourceLimiter, type SourceLimits } from './source-limiter.ts';
import { openUdpSocket } from './udp-socket.ts';

/** What an agent says of itself, asked for each reply: cheap and up to date. Texts and lists are cut to fit. */
export type AgentDescription = Omit<
  AgentAnnouncement,
  '$typeName' | '$unknown' | 'protocol' | 'protocolNewest' | 'key'
>;

/** How an agent is found. */
export interface DiscoveryResponderOptions {
  /** UDP port. Default {@link discoveryPortDefault}. Several agents of one machine may share it: groups reach all of them. */
  readonly port?: number | undefined;
  /**
   * Addresses to listen at. Default `0.0.0.0` and `::`. One IPv4 address of this machine is found by broadcasts of its network
   * as well; one of IPv6 only when it is asked itself.
   */
  readonly hosts?: readonly string[] | undefined;
  readonly limits?: SourceLimits | undefined;
  /** How often interfaces are looked at, for new ones to listen on. Default 10,000 ms. */
  readonly interfacesCheckMs?: number | undefined;
}

/** Signs as the agent; clients that are paired with it know its public key. */
export interface DiscoverySigner {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** An Ed25519 signature (RFC 8032), 64 bytes. */
  sign(bytes: Uint8Array): Uint8Array;
}

export interface DiscoveryResponderDeps {
  describe(): AgentDescription;
  readonly signer: DiscoverySigner;
  readonly clock?: Clock | undefined;
  readonly logger?: Logger | undefined;
  readonly meter?: Meter | undefined;
  /** The interfaces of this machine; absent: asked of the platform. */
  readonly interfaces?: (() => readonly InterfaceAddress[]) | undefined;
}

const results = ['answered', 'malformed', 'limited', 'unanswerable', 'too-small', 'failed'] as const;

/**
 * What became of a request: `limited` by its source or by all; `unanswerable` since its source is a group; `too-small` for any
 * reply; `failed` on our side.
 */
export type RequestResult = (typeof results)[number];

/** The part of an agent that answers clients who look for agents. */
export interface DiscoveryResponder extends AsyncDisposable {
  /**
   * Listens, on every address that can be had. Idempotent. Throws `DISCOVERY_PORT_UNAVAILABLE` if none can; an address family
   * that the machine has not got is left out.
   */
  start(): Promise<void>;
  /** Idempotent; it can be started again. */
  stop(): Promise<void>;
  /** Where it listens, e.g. `0.0.0.0` and 7614. */
  readonly listening: readonly { readonly host: string; readonly port: number }[];
  /** Requests since it was made. */
  counts(): Readonly<Record<RequestResult, number>>;
}

/** Replies that wait for their part of a request's spread; beyond, replies go at once. */
const waitingMax = 1_024;

/**
 * Makes an agent that can be found: it answers requests by broadcast, by multicast on every link, and to itself alone. No reply
 * is larger than its request, each is signed, and sources are limited.
 */
export function createDiscoveryResponder(
  options: DiscoveryResponderOptions,
  deps: DiscoveryResponderDeps,
): DiscoveryResponder {
  return new UdpResponder(options, deps);
}

class UdpResponder implements DiscoveryResponder {
  readonly #options: DiscoveryResponderOptions;
  readonly #deps: DiscoveryResponderDeps;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #limiter: SourceLimiter;
  readonly #counter: Counter;
  readonly #counts = Object.fromEntries(results.map((name) => [name, 0])) as Record<RequestResult, number>;
  readonly #waiting = new Set<ScheduledCall>();
  #sockets: readonly Socket[] = [];
  /** Those that take broadcasts for a socket that is bound to one address. */
  #ears: readonly Socket[] = [];
  #membership: GroupMembership | undefined;
  #interfaces: readonly InterfaceAddress[] = [];
  #check: ScheduledCall | undefined;
  #starting: Promise<void> | undefined;

  constructor(options: DiscoveryResponderOptions, deps: DiscoveryResponderDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#limiter = new SourceLimiter(options.limits);
    this.#counter = (deps.meter ?? silentMeter).createCounter('drover_herd_discovery_requests_total', {
      description: 'Requests of clients that look for agents, by what became of them.',
    });
  }

  get listening(): DiscoveryResponder['listening'] {
    return this.#sockets.map((socket) => ({ host: socket.address().address, port: socket.address().port }));
  }

  counts(): Readonly<Record<RequestResult, number>> {
    return { ...this.#counts };
  }

  start(): Promise<void> {
    return (this.#starting ??= this.#open().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    }));
  }

  async stop(): Promise<void> {
    await this.#starting?.catch(() => undefined);
    this.#starting = undefined;
    this.#check?.cancel();
    for (const reply of this.#waiting) reply.cancel();
    this.#waiting.clear();
    const sockets = [...this.#sockets, ...this.#ears];
    this.#sockets = [];
    this.#ears = [];
    this.#membership = undefined;
    await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #open(): Promise<void> {
    const { port = discoveryPortDefault, hosts = ['0.0.0.0', '::'] } = this.#options;
    const opened = await Promise.allSettled(hosts.map((host) => openUdpSocket({ host, port, shared: true })));
    const sockets = opened.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const refused = opened.flatMap((one, index) =>
      one.status === 'rejected' ? [`${hosts[index] ?? ''}: ${messageOf(one.reason)}`] : [],
    );
    if (sockets.length === 0) {
      throw new DroverError({
        code: 'DISCOVERY_PORT_UNAVAILABLE',
        advice: 'fix-input',
        message: `This agent cannot be found, since it cannot listen on UDP port ${port}: ${refused.join('; ')}.`,
      });
    }
    if (refused.length > 0) this.#logger.info({ refused }, 'agents are not looked for at some of the addresses');
    this.#sockets = sockets;
    for (const socket of sockets) {
      socket.on('message', (datagram, from) => this.#receive(socket, datagram, from));
      // A later error of a socket concerns one datagram: the next may well arrive.
      socket.on('error', (error) => this.#logger.warn({ err: error }, 'the discovery socket reports an error'));
    }
    this.#ears = await this.#openEars(sockets);
    const onAnyAddress = sockets.find((socket) => socket.address().address === '::');
    if (onAnyAddress !== undefined) {
      this.#membership = new GroupMembership(onAnyAddress, discoveryGroup, this.#logger);
    }
    this.#lookAtInterfaces();
    this.#logger.info({ listening: this.listening, group: discoveryGroup }, 'the agent can be found');
  }

  /** A socket that is bound to one address gets no broadcasts, but for platforms where it does, which refuse these. */
  async #openEars(sockets: readonly Socket[]): Promise<readonly Socket[]> {
    const interfaces = (this.#deps.interfaces ?? interfaceAddresses)();
    const ears = await Promise.all(
      sockets.map(async (socket) => {
        const { address, port } = socket.address();
        const own = interfaces.find((one) => one.address === address);
        const host = own && broadcastAddress(own);
        if (host === undefined) return [];
        const ear = await openUdpSocket({ host, port, shared: true }).catch(() => undefined);
        ear?.on('message', (datagram, from) => this.#receive(socket, datagram, from));
        ear?.on('error', (error) => this.#logger.warn({ err: error }, 'the discovery socket reports an error'));
        return ear === undefined ? [] : [ear];
      }),
    );
    return ears.flat();
  }

  #lookAtInterfaces(): void {
    this.#interfaces = (this.#deps.interfaces ?? interfaceAddresses)();
    this.#membership?.follow(this.#interfaces);
    this.#check = this.#clock.schedule(this.#options.interfacesCheckMs ?? 10_000, () => this.#lookAtInterfaces());
  }

  #receive(socket: Socket, datagram: Buffer, from: RemoteInfo): void {
    const request = decodeRequest(datagram);
    if (request === undefined) return this.#count('malformed');
    if (!isAnswerable(from.address, from.port, this.#interfaces)) return this.#count('unanswerable');
    if (!this.#limiter.take(limitedSource(from.address), this.#clock.monotonicMs())) return this.#count('limited');
    const answer = (): void => this.#answer(socket, request, Math.min(datagram.length, datagramSizeBytesMax), from);
    if (request.spreadMs === 0 || this.#waiting.size >= waitingMax) return answer();
    const waiting = this.#clock.schedule(Math.random() * request.spreadMs, () => {
      this.#waiting.delete(waiting);
      answer();
    });
    this.#waiting.add(waiting);
  }

  #answer(socket: Socket, request: DiscoveryRequest, sizeBytesMax: number, from: RemoteInfo): void {
    try {
      const reply = this.#reply(request, sizeBytesMax);
      if (reply === undefined) return this.#count('too-small');
      this.#count('answered');
      // Where it goes is a number, so that no name is looked up; a machine that has gone is none of our business.
      socket.send(reply, from.port, from.address, (error) => {
        if (error) this.#logger.debug({ err: error, to: from.address }, 'a discovery reply was not sent');
      });
    } catch (error) {
      this.#count('failed');
      this.#logger.warn({ err: error }, 'a discovery request was not answered');
    }
  }

  #reply({ nonce, protocols }: DiscoveryRequest, sizeBytesMax: number): Buffer | undefined {
    const { agentId, name, version, ...further } = this.#deps.describe();
    const protocol = Math.max(0, ...protocols.filter((one) => herdProtocols.includes(one)));
    const whole = create(AgentAnnouncementSchema, {
      protocol,
      agentId,
      name,
      version,
      protocolNewest: herdProtocols.at(-1)!,
      ...(protocol === 0 ? {} : { ...further, key: this.#deps.signer.publicKey }),
    });
    const around = encodeReply({ nonce, announcement: new Uint8Array(), signature: new Uint8Array(64) }).length;
    // Tag and length of the announcement.
    const announcement = fitAnnouncement(whole, sizeBytesMax - around - 3);
    if (announcement === undefined) return undefined;
    const signature = this.#deps.signer.sign(signedBytes(nonce, announcement));
    return encodeReply({ nonce, announcement, signature });
  }

  #count(result: RequestResult): void {
    this.#counts[result] += 1;
    this.#counter.add(1, { result });
  }
}
