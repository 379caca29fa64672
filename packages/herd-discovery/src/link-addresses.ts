import { networkInterfaces } from 'node:os';

/** One address of an interface that is up. */
export interface InterfaceAddress {
  /** E.g. `eth0`. */
  readonly name: string;
  readonly family: 4 | 6;
  /** Without a zone. */
  readonly address: string;
  /** Bits of the network. */
  readonly prefixBits: number;
  /** True for the loopback interface. */
  readonly internal: boolean;
}

/** The addresses of this machine's interfaces now; those of interfaces that are down, or have none, are not among them. */
export function interfaceAddresses(): readonly InterfaceAddress[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses.map(({ family, address, cidr, internal }) => ({
      name,
      family: family === 'IPv4' ? (4 as const) : (6 as const),
      address,
      // Node tells no `cidr` for a netmask with gaps: such a network has no broadcast address that could be told.
      prefixBits: cidr === null ? 32 : Number(cidr.slice(cidr.indexOf('/') + 1)),
      internal,
    })),
  );
}

/** The address that reaches all of an IPv4 network; undefined for links between two, which have none (RFC 3021). */
export function broadcastAddress({ family, address, prefixBits }: InterfaceAddress): string | undefined {
  if (family !== 4 || prefixBits > 30 || prefixBits < 1) return undefined;
  const bits = address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const all = (bits | (0xffffffff >>> prefixBits)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (all >>> shift) & 255).join('.');
}

/** True for an IPv6 address that is valid on one link alone (fe80::/10). */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address);
}

/** The names of interfaces whose link can be asked by IPv6 multicast: those with a link-local address, each once. */
export function multicastLinks(addresses: readonly InterfaceAddress[]): readonly string[] {
  return [...new Set(addresses.filter((one) => one.family === 6 && isLinkLocal(one.address)).map(({ name }) => name))];
}
