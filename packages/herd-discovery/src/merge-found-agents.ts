import type { AgentAddress, FoundAgent } from '@drover/herd-protocol';

/** Most addresses of one agent. */
const addressesMax = 8;

/**
 * One agent as two replies tell of it: what the later one says, the addresses of both, the shorter way. Undefined if they are
 * not of one agent: another id, or another key.
 */
export function mergeFoundAgents(before: FoundAgent, later: FoundAgent): FoundAgent | undefined {
  if (before.agentId !== later.agentId || !isSameKey(before.key, later.key)) return undefined;
  const addresses = [...before.addresses];
  for (const address of later.addresses) {
    if (addresses.length < addressesMax && !addresses.some((one) => isSameAddress(one, address)))
      addresses.push(address);
  }
  const roundTrips = [before.roundTripMs, later.roundTripMs].filter((one) => one !== undefined);
  return {
    ...later,
    addresses,
    key: later.key ?? before.key,
    certificateSha256: later.certificateSha256 ?? before.certificateSha256,
    trusted: before.trusted || later.trusted,
    roundTripMs: roundTrips.length === 0 ? undefined : Math.min(...roundTrips),
  };
}

export function isSameAddress(a: AgentAddress, b: AgentAddress): boolean {
  return a.host === b.host && a.port === b.port;
}

function isSameKey(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined || Buffer.compare(a, b) === 0;
}
