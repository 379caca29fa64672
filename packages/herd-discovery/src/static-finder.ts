import type { AgentFinder } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import { lookup } from 'node:dns/promises';
import { isIPv4, isIPv6 } from 'node:net';
import { parseAgentHost, type AgentHost } from './agent-host.ts';
import { searchAgents, type AskTarget, type Targets } from './agent-search.ts';
import { discoveryPortDefault } from './discovery-wire.ts';
import type { FinderDeps } from './finder-deps.ts';

/** Which hosts are asked. */
export interface StaticFinderOptions {
  /** `HOST`, `HOST:PORT`, `[ADDRESS6]:PORT`; at most 256. */
  readonly hosts: readonly string[];
  /** UDP port of those that name none. Default 7614. */
  readonly port?: number | undefined;
}

export const hostsMax = 256;
/** Most addresses of one host that are asked; the first that answers is enough. */
const addressesOfHostMax = 4;

/**
 * Asks each host of a list, also in other networks, and ends as soon as all have answered. Those that have not are told as
 * `silent` events, those without an address as `unresolved`. Throws `AGENT_HOST_INVALID` and `AGENT_HOSTS_TOO_MANY` at once.
 */
export function createStaticFinder(options: StaticFinderOptions, deps: FinderDeps = {}): AgentFinder {
  const { port = discoveryPortDefault } = options;
  if (options.hosts.length > hostsMax) {
    throw new DroverError({
      code: 'AGENT_HOSTS_TOO_MANY',
      advice: 'fix-input',
      message: `${options.hosts.length} hosts are asked for; allowed are ${hostsMax}.`,
    });
  }
  const hosts = options.hosts.map((text) => parseAgentHost(text, port));
  return { find: (find) => searchAgents(hostTargets(hosts, deps), find, deps) };
}

/** The addresses of hosts as they are resolved, each host on its own, so that one slow name holds no other up. */
export function hostTargets(hosts: readonly AgentHost[], deps: FinderDeps): Targets {
  return async (ask, signal) => {
    await Promise.all(
      hosts.map(async ({ host, port }) => {
        try {
          const addresses = await resolved(host, signal);
          ask(addresses.map(({ to, family }): AskTarget => ({ family, to, port, host })));
        } catch (error) {
          if (signal.aborted) return;
          deps.onEvent?.({ type: 'unresolved', host, code: (error as NodeJS.ErrnoException).code ?? 'ENOTFOUND' });
        }
      }),
    );
  };
}

async function resolved(
  host: string,
  signal: AbortSignal,
): Promise<readonly { readonly to: string; readonly family: 4 | 6 }[]> {
  if (isIPv4(host)) return [{ to: host, family: 4 }];
  if (isIPv6(host)) return [{ to: host, family: 6 }];
  // The platform's resolver cannot be cut short: who waits for it can.
  const cut = Promise.withResolvers<never>();
  const onAbort = (): void => cut.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const addresses = await Promise.race([lookup(host, { all: true }), cut.promise]);
    return addresses
      .slice(0, addressesOfHostMax)
      .map(({ address, family }) => ({ to: address, family: family === 6 ? 6 : 4 }));
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
