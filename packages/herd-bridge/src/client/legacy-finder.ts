import type { AgentFinder, FindOptions, FoundAgent } from '@drover/herd-protocol';
import { DroverError, messageOf } from '@drover/lease-kit';
import { lookup } from 'node:dns/promises';
import { discoveryClientPortDefault, discoveryPortDefault, jobPortDefault } from '../wire/index.ts';
import { broadcastSources } from './broadcast-sources.ts';
import { DiscoverySocket, type DiscoverySocketOptions } from './discovery-socket.ts';

/** One agent of the original protocol, to be asked by its address. */
export interface LegacyHost {
  /** IPv4 address or host name. */
  readonly host: string;
  /** UDP port of its discovery. Absent: that of the finder. */
  readonly discoveryPort?: number | undefined;
  /** TCP port of its jobs. Absent: that of the finder. */
  readonly jobPort?: number | undefined;
}

/** Whom a finder of original agents asks, and from where. */
export interface LegacyFinderOptions {
  /** Asks all that an interface reaches, by broadcast. Default true. */
  readonly broadcast?: boolean | undefined;
  /** Asks the broadcast address of each network as well (`10.0.0.255`), which some switches and firewalls let through alone. Default false. */
  readonly directedBroadcast?: boolean | undefined;
  /** Asked one by one, wherever they are; at most 1,024. Default none. */
  readonly hosts?: readonly LegacyHost[] | undefined;
  /** Names of interfaces, or IPv4 addresses of this machine, that broadcasts go out from. Default: all but loopback. */
  readonly from?: readonly string[] | undefined;
  /** UDP port of agents. Default 2333. */
  readonly discoveryPort?: number | undefined;
  /** UDP port that is asked from; another one is taken, with a note, where it is not free. Default 2334. */
  readonly clientPort?: number | undefined;
  /** TCP port of agents. Default 2335. */
  readonly jobPort?: number | undefined;
}

/** What a finder of original agents tells. */
export interface LegacyFinderDeps {
  /** Called with what a person may want to know: a port that was taken, a reply that is none. At most 100 a search. */
  readonly onNote?: ((text: string) => void) | undefined;
}

/**
 * Finds agents of the original Herd protocol by UDP. Each address is an agent: the protocol has no identity that differs from
 * one machine to the next, so a machine with two cards is found twice.
 */
export function createLegacyFinder(options: LegacyFinderOptions = {}, deps: LegacyFinderDeps = {}): AgentFinder {
  if ((options.hosts?.length ?? 0) > hostsMax) {
    throw new DroverError({
      code: 'HERD_HOSTS_TOO_MANY',
      advice: 'fix-input',
      message: `${options.hosts!.length} agents are listed; at most ${hostsMax} are asked one by one`,
    });
  }
  return { find: (findOptions) => findLegacyAgents(options, deps, findOptions) };
}

const hostsMax = 1024;
const agentsMax = 10_000;
const notesMax = 100;
const timeoutMsDefault = 1000;
/** How often the request is sent in a search: datagrams get lost, and an agent answers each. */
const requestsASearch = 3;

async function* findLegacyAgents(
  options: LegacyFinderOptions,
  deps: LegacyFinderDeps,
  { timeoutMs = timeoutMsDefault, signal }: FindOptions = {},
): AsyncGenerator<FoundAgent> {
  if (signal?.aborted === true) return;
  const agents = new Map<string, FoundAgent>();
  const changed = new Set<string>();
  const jobPorts = new Map<string, number>();
  const unanswered = new Set<string>();
  let wake = (): void => undefined;
  let isOver = false;
  const end = (): void => {
    isOver = true;
    wake();
  };
  const onAgent = (agent: FoundAgent): void => {
    const [{ host } = { host: '' }] = agent.addresses;
    unanswered.delete(host);
    const before = agents.get(host);
    if (before === undefined && agents.size >= agentsMax) return;
    if (before === undefined || isNews(before, agent)) changed.add(host);
    // The first reply's time is that of the network; a later one may answer an earlier request.
    agents.set(host, { ...agent, roundTripMs: before?.roundTripMs ?? agent.roundTripMs });
    wake();
  };
  let notes = 0;
  const onNote = (text: string): void => {
    notes += 1;
    if (notes <= notesMax) deps.onNote?.(text);
  };
  const jobPortOf = (host: string): number => jobPorts.get(host) ?? options.jobPort ?? jobPortDefault;
  const discoveryPort = options.discoveryPort ?? discoveryPortDefault;
  using sockets = new DisposableStack();
  const timers = new Set<NodeJS.Timeout>();
  sockets.defer(() => timers.forEach(clearTimeout));
  sockets.defer(() => signal?.removeEventListener('abort', end));
  signal?.addEventListener('abort', end);
  timers.add(setTimeout(end, timeoutMs));

  const asks: (() => void)[] = [];
  if (options.broadcast !== false) {
    for (const { address, broadcastAddress } of broadcastSources(options.from)) {
      const port = options.clientPort ?? discoveryClientPortDefault;
      const socket = await openSource({ address, port, jobPortOf, onAgent, onNote });
      if (socket === undefined) continue;
      sockets.use(socket);
      asks.push(() => socket.ask('255.255.255.255', discoveryPort));
      if (options.directedBroadcast === true && broadcastAddress !== undefined) {
        asks.push(() => socket.ask(broadcastAddress, discoveryPort));
      }
    }
  }
  const isBroadcasting = asks.length > 0;
  if (options.hosts !== undefined && options.hosts.length > 0) {
    const socket = await DiscoverySocket.open({ address: '0.0.0.0', port: 0, jobPortOf, onAgent, onNote });
    sockets.use(socket);
    for (const { host, port, jobPort } of await addressesOf(options.hosts, discoveryPort, onNote)) {
      unanswered.add(host);
      if (jobPort !== undefined) jobPorts.set(host, jobPort);
      asks.push(() => socket.ask(host, port));
    }
  }
  if (asks.length === 0) throw nothingToAsk(options);

  const askAll = (): void => asks.forEach((ask) => ask());
  askAll();
  for (let at = 1; at < requestsASearch; at += 1) {
    timers.add(setTimeout(askAll, (timeoutMs * at) / requestsASearch));
  }
  while (!isOver || changed.size > 0) {
    for (const host of [...changed]) {
      changed.delete(host);
      yield agents.get(host)!;
    }
    if (!isBroadcasting && unanswered.size === 0 && changed.size === 0) return;
    if (!isOver && changed.size === 0) await new Promise<void>((resolve) => (wake = resolve));
  }
}

function isNews(before: FoundAgent, now: FoundAgent): boolean {
  return (
    before.availability !== now.availability || before.processors !== now.processors || before.version !== now.version
  );
}

/** A socket on the port that the original clients ask from, or on another; undefined, with a note, if there is none. */
async function openSource(options: DiscoverySocketOptions): Promise<DiscoverySocket | undefined> {
  try {
    return await DiscoverySocket.open(options);
  } catch (error) {
    options.onNote(
      `UDP port ${options.port} of ${options.address} cannot be bound, another is asked from: ${messageOf(error)}`,
    );
  }
  try {
    return await DiscoverySocket.open({ ...options, port: 0 });
  } catch (error) {
    options.onNote(`nobody is asked from ${options.address}: ${messageOf(error)}`);
    return undefined;
  }
}

interface AskedHost {
  readonly host: string;
  readonly port: number;
  readonly jobPort: number | undefined;
}

/** Addresses of hosts, since replies come from addresses; who has none is noted. */
async function addressesOf(
  hosts: readonly LegacyHost[],
  discoveryPort: number,
  onNote: (text: string) => void,
): Promise<readonly AskedHost[]> {
  const found = await Promise.all(
    hosts.map(async ({ host, discoveryPort: port = discoveryPort, jobPort }) => {
      try {
        return [{ host: (await lookup(host, { family: 4 })).address, port, jobPort }];
      } catch (error) {
        onNote(`${host} has no IPv4 address: ${messageOf(error)}`);
        return [];
      }
    }),
  );
  return found.flat();
}

function nothingToAsk({ hosts, from }: LegacyFinderOptions): DroverError {
  const looked =
    from === undefined
      ? 'no interface but loopback has an IPv4 address'
      : `no interface has the name or address ${from.join(' or ')}`;
  return new DroverError({
    code: hosts === undefined || hosts.length === 0 ? 'NO_INTERFACE' : 'HERD_HOSTS_UNKNOWN',
    advice: 'fix-input',
    message:
      hosts === undefined || hosts.length === 0
        ? `no original agent can be asked: ${looked}; name agents by their addresses`
        : `none of ${hosts.map(({ host }) => host).join(', ')} has an IPv4 address`,
  });
}
