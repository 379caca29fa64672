import type { AgentFinder } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import type { SrvRecord } from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { searchAgents } from './agent-search.ts';
import type { FinderDeps } from './finder-deps.ts';
import { hostsMax, hostTargets } from './static-finder.ts';

/** Which domain's records are asked for. */
export interface DnsFinderOptions {
  /** E.g. `build.example`: its records are `_drover-herd._udp.build.example`. */
  readonly domain: string;
  /** Servers to ask, as `ADDRESS` or `ADDRESS:PORT`; absent: those of the system. */
  readonly servers?: readonly string[] | undefined;
}

/** The service and protocol labels (RFC 2782) in front of a domain. */
const serviceLabels = '_drover-herd._udp';

/**
 * Asks the hosts that DNS names in SRV records of the domain, at most 256 of the best. `find` throws `DNS_DOMAIN_INVALID`,
 * `DNS_NO_RECORD` when there is none, and `DNS_UNAVAILABLE` when no server answers in the time.
 */
export function createDnsFinder({ domain, servers }: DnsFinderOptions, deps: FinderDeps = {}): AgentFinder {
  const name = `${serviceLabels}.${domain}`;
  return {
    find: (find) =>
      searchAgents(
        async (ask, signal) => {
          const records = await srvRecords(name, domain, servers, find?.timeoutMs ?? 1_000, signal);
          const hosts = records.map(({ name: host, port }) => ({ host, port }));
          await hostTargets(hosts, deps)(ask, signal);
        },
        find,
        deps,
      ),
  };
}

async function srvRecords(
  name: string,
  domain: string,
  servers: readonly string[] | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<readonly SrvRecord[]> {
  if (!/^(?=.{1,220}$)[\w-]{1,63}(?:\.[\w-]{1,63})*\.?$/.test(domain)) {
    throw new DroverError({
      code: 'DNS_DOMAIN_INVALID',
      advice: 'fix-input',
      message: `${JSON.stringify(domain.slice(0, 300))} is no domain; allowed is e.g. build.example.`,
    });
  }
  const resolver = new Resolver({ timeout: Math.floor(timeoutMs / 6), tries: 2 });
  if (servers !== undefined) resolver.setServers(servers);
  const cancel = (): void => resolver.cancel();
  signal.addEventListener('abort', cancel, { once: true });
  // The other half of the time is for the agents.
  const impatient = setTimeout(cancel, timeoutMs / 2);
  try {
    const records = await resolver.resolveSrv(name);
    // A target of "." says that the service is not offered (RFC 2782); Node tells it as an empty name.
    return records
      .filter((record) => record.name !== '' && record.name !== '.' && record.port > 0)
      .sort((a, b) => a.priority - b.priority || b.weight - a.weight)
      .slice(0, hostsMax);
  } catch (error) {
    if (signal.aborted) return [];
    const { code = '' } = error as NodeJS.ErrnoException;
    const isNone = code === 'ENOTFOUND' || code === 'ENODATA';
    throw new DroverError({
      code: isNone ? 'DNS_NO_RECORD' : 'DNS_UNAVAILABLE',
      advice: isNone ? 'not-found' : 'unavailable',
      message: isNone
        ? `DNS has no SRV record ${name}: nothing is known of agents of ${domain}.`
        : `DNS was not answered for ${name}: ${code}.`,
      cause: error,
    });
  } finally {
    clearTimeout(impatient);
    signal.removeEventListener('abort', cancel);
  }
}
