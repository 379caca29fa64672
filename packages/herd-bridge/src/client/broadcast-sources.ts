import { networkInterfaces } from 'node:os';

/** Where a broadcast goes out. */
export interface BroadcastSource {
  /** IPv4 address of this machine. */
  readonly address: string;
  /** Reaches all of its network. Absent for links without one. */
  readonly broadcastAddress?: string | undefined;
}

/**
 * The IPv4 addresses of this machine's interfaces that are up: those that `from` names, by interface or address, or all but
 * loopback. Several of one interface are each one, as the original client has it, for they may be of different networks.
 */
export function broadcastSources(from: readonly string[] | undefined): readonly BroadcastSource[] {
  const all = Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.map((one) => ({ name, ...one })),
  );
  return all
    .filter(({ family }) => family === 'IPv4')
    .filter(({ name, address, internal }) =>
      from === undefined ? !internal : from.includes(name) || from.includes(address),
    )
    .map(({ address, netmask }) => ({ address, broadcastAddress: broadcastAddressOf(address, netmask) }));
}

/** The address of all of a network; undefined for links of two, which have none (RFC 3021), and for single addresses. */
export function broadcastAddressOf(address: string, netmask: string): string | undefined {
  const mask = netmask.split('.').map(Number);
  if (mask[3]! >= 254) return undefined;
  return address
    .split('.')
    .map((byte, at) => Number(byte) | (~mask[at]! & 255))
    .join('.');
}
