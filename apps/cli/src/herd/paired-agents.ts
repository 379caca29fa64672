import type { KnownAgents } from '@drover/herd-discovery';
import { HerdTrust, herdTrustDir } from '@drover/herd-pairing/client';

/** The agents that this user is paired with, as they are now. */
export interface PairedAgents extends KnownAgents {
  /** Where each was when it was paired, as `HOST:PORT`: an agent is asked by UDP on the number of its TCP port. */
  readonly hosts: readonly string[];
}

/** Reads them once: a search asks for the key of everything that answers. Throws `HERD_FILE_EXPOSED`, `HERD_FILE_INVALID`. */
export function readPairedAgents(env: Readonly<Record<string, string | undefined>>): PairedAgents {
  const agents = new HerdTrust(herdTrustDir(env)).list();
  const keys = new Map(agents.map(({ agentId, key }) => [agentId, key]));
  const hosts = agents.map(({ address: { host, port } }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
  return { keyOf: (agentId) => keys.get(agentId), hosts: [...new Set(hosts)] };
}
