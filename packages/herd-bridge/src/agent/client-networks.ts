import { DroverError } from '@drover/lease-kit';
import { BlockList, isIP } from 'node:net';

/** Who may ask and send jobs. */
export interface ClientNetworks {
  has(address: string): boolean;
}

const networksMax = 64;

/**
 * Reads networks, such as `192.168.0.0/24`, or single addresses. Throws `HERD_NETWORK_INVALID`, and
 * `HERD_NETWORKS_MISSING` if there are none: the original protocol has no identity, so that nobody is let in by default.
 */
export function clientNetworks(networks: readonly string[]): ClientNetworks {
  if (networks.length === 0) {
    throw new DroverError({
      code: 'HERD_NETWORKS_MISSING',
      advice: 'fix-input',
      message:
        'the original Herd protocol is on, and no network is allowed to use it; name at least one, ' +
        'e.g. networks = ["192.168.0.0/24"]: whoever is in it runs programs on this machine.',
    });
  }
  if (networks.length > networksMax) throw networkInvalid(`${networks.length} networks`, `at most ${networksMax}`);
  const list = new BlockList();
  for (const network of networks) addNetwork(list, network);
  return {
    has(address) {
      const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
      const version = isIP(plain);
      return version !== 0 && list.check(plain, version === 4 ? 'ipv4' : 'ipv6');
    },
  };
}

function addNetwork(list: BlockList, network: string): void {
  const [address = '', prefix, ...more] = network.split('/');
  const version = isIP(address);
  const bitsMax = version === 4 ? 32 : 128;
  const bits = prefix === undefined ? bitsMax : Number(prefix);
  const isPrefix = prefix === undefined || /^\d{1,3}$/.test(prefix);
  if (version === 0 || more.length > 0 || !isPrefix || bits > bitsMax) {
    throw networkInvalid(JSON.stringify(network.slice(0, 128)), 'ADDRESS/BITS, e.g. 192.168.0.0/24, or ADDRESS');
  }
  list.addSubnet(address, bits, version === 4 ? 'ipv4' : 'ipv6');
}

function networkInvalid(what: string, allowed: string): DroverError {
  return new DroverError({
    code: 'HERD_NETWORK_INVALID',
    advice: 'fix-input',
    message: `networks of the original Herd protocol: ${what}; allowed: ${allowed}.`,
  });
}
