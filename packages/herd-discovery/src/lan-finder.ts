import type { AgentFinder } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import { searchAgents, type AskTarget } from './agent-search.ts';
import { discoveryGroup, discoveryPortDefault } from './discovery-wire.ts';
import type { FinderDeps } from './finder-deps.ts';
import { broadcastAddress, interfaceAddresses, multicastLinks, type InterfaceAddress } from './link-addresses.ts';

/** Where agents are looked for. */
export interface LanFinderOptions {
  /** UDP port of the agents. Default 7614. */
  readonly port?: number | undefined;
  /** Names of the interfaces to ask by; absent: all that can. The loopback interface, `lo` say, finds agents of this machine. */
  readonly interfaces?: readonly string[] | undefined;
}

/** Most interfaces that are asked by. */
const interfacesMax = 64;

/**
 * Finds the agents of the networks that this machine is in: by the broadcast address of each IPv4 network, and by IPv6 multicast
 * on each link. It throws `NO_INTERFACE` if there is none to ask by, and `DISCOVERY_NOT_SENT` if nothing could be sent.
 */
export function createLanFinder(options: LanFinderOptions = {}, deps: FinderDeps = {}): AgentFinder {
  return {
    find: (find) =>
      searchAgents(
        (ask) => {
          const targets = lanTargets((deps.interfaces ?? interfaceAddresses)(), options);
          if (targets.length === 0) return Promise.reject(noInterface(options.interfaces));
          ask(targets);
          return Promise.resolve();
        },
        find,
        deps,
      ),
  };
}

/** Whom to ask on these interfaces, each once. */
export function lanTargets(
  addresses: readonly InterfaceAddress[],
  { port = discoveryPortDefault, interfaces }: LanFinderOptions,
): readonly AskTarget[] {
  const chosen = addresses.filter(({ name }) => interfaces === undefined || interfaces.includes(name));
  const names = new Set([...new Set(chosen.map(({ name }) => name))].slice(0, interfacesMax));
  const bounded = chosen.filter(({ name }) => names.has(name));
  const targets = new Map<string, AskTarget>();
  for (const one of bounded) {
    const whole = broadcastAddress(one);
    // On loopback, the address itself as well: for an agent that listens there alone.
    const itself = one.internal ? [one.address] : [];
    for (const to of whole === undefined ? itself : [whole, ...itself]) {
      targets.set(to, { family: one.family, to, port, link: one.name });
    }
  }
  for (const link of multicastLinks(bounded)) {
    const to = `${discoveryGroup}%${link}`;
    targets.set(to, { family: 6, to, port, link });
  }
  return [...targets.values()];
}

function noInterface(wanted: readonly string[] | undefined): DroverError {
  return new DroverError({
    code: 'NO_INTERFACE',
    advice: 'fix-input',
    message:
      wanted === undefined
        ? 'This machine has no network to look for agents in: no interface is up that has broadcasts or IPv6.'
        : `No interface to look for agents by: ${wanted.join(', ')} is not up here, or has neither broadcasts nor IPv6.`,
  });
}
