import { DroverError } from '@drover/lease-kit';
import { BlockList, isIP, isIPv6 } from 'node:net';

/** Networks by their addresses. */
export interface AddressNetworks {
  /** True for an address of one of them; IPv4 in IPv6 counts as IPv4. */
  has(address: string): boolean;
}

/**
 * Networks as `10.1.0.0/16`, `fd00::/8` or single addresses. Throws `NETWORK_INVALID`, which says what is wrong with which one.
 */
export function parseNetworks(networks: readonly string[]): AddressNetworks {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix, ...more] = network.split('/');
    const family = isIP(address);
    const bits = family === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
    if (family === 0 || length < 0 || length > bits || more.length > 0) throw networkInvalid(network);
    list.addSubnet(address, length, family === 6 ? 'ipv6' : 'ipv4');
  }
  return {
    has(address) {
      const plain = plainAddress(address);
      return isIP(plain) !== 0 && list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
    },
  };
}

/** Without the zone, and without the IPv6 form that sockets of both families give IPv4 addresses. */
function plainAddress(address: string): string {
  const [bare = ''] = address.split('%', 1);
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1] ?? bare;
}

function networkInvalid(network: string): DroverError {
  return new DroverError({
    code: 'NETWORK_INVALID',
    advice: 'fix-input',
    message: `${JSON.stringify(network)} is no network; allowed is an address with the length of its prefix, e.g. 10.1.0.0/16 or fd00::/8`,
  });
}
