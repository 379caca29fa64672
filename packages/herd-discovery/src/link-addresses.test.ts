import { expect, test } from 'vitest';
import { isAnswerable, limitedSource } from './answerable-source.ts';
import { lanTargets } from './lan-finder.ts';
import { broadcastAddress, type InterfaceAddress } from './link-addresses.ts';

const at = (name: string, cidr: string, internal = false): InterfaceAddress => {
  const [address = '', bits] = cidr.split('/');
  return { name, family: address.includes(':') ? 6 : 4, address, prefixBits: Number(bits), internal };
};

test.each([
  ['10.1.2.3/8', '10.255.255.255'],
  ['192.168.5.130/25', '192.168.5.255'],
  ['172.16.0.1/30', '172.16.0.3'],
  ['172.16.0.0/31', undefined],
  ['10.0.0.1/32', undefined],
  ['200.1.2.3/1', '255.255.255.255'],
  ['fe80::1/64', undefined],
])('the broadcast address of %s is %s', (cidr, expected) => {
  expect(broadcastAddress(at('eth0', cidr))).toBe(expected);
});

test('each network is asked once, each link by IPv6 as well, and loopback for agents of this machine', () => {
  const addresses = [
    at('lo', '127.0.0.1/8', true),
    at('lo', '::1/128', true),
    at('eth0', '10.1.0.5/24'),
    at('eth0', '10.1.0.6/24'),
    at('eth0', 'fe80::5/64'),
    at('eth0', '2001:db8::5/64'),
    at('wlan0', '192.168.7.2/24'),
    at('wlan0', 'fe80::9/64'),
    at('wg0', '10.9.0.1/32'),
  ];
  expect(lanTargets(addresses, {}).map(({ to }) => to)).toEqual([
    '127.255.255.255',
    '127.0.0.1',
    '::1',
    '10.1.0.255',
    '192.168.7.255',
    'ff12::d2e0:7614%eth0',
    'ff12::d2e0:7614%wlan0',
  ]);
  expect(lanTargets(addresses, { interfaces: ['wlan0'], port: 9 })).toEqual([
    { family: 4, to: '192.168.7.255', port: 9, link: 'wlan0' },
    { family: 6, to: 'ff12::d2e0:7614%wlan0', port: 9, link: 'wlan0' },
  ]);
  expect(lanTargets(addresses, { interfaces: ['wg0'] })).toEqual([]);
});

test('the number of interfaces is bounded', () => {
  const addresses = Array.from({ length: 500 }, (_, n) => at(`eth${n}`, `10.${n % 250}.${n > 249 ? 1 : 0}.1/24`));
  expect(lanTargets(addresses, {})).toHaveLength(64);
});

test('nothing is sent to who is no single machine', () => {
  const interfaces = [at('eth0', '10.1.0.5/24')];
  const answerable = (address: string, port = 5_000): boolean => isAnswerable(address, port, interfaces);
  for (const address of ['10.1.0.9', '8.8.8.8', '127.0.0.1', 'fe80::1%eth0', '::1', '2001:db8::1']) {
    expect([address, answerable(address)]).toEqual([address, true]);
  }
  for (const address of [
    '10.1.0.255',
    '255.255.255.255',
    '224.0.0.1',
    '239.1.2.3',
    '240.0.0.1',
    '0.0.0.0',
    '0.1.2.3',
  ]) {
    expect([address, answerable(address)]).toEqual([address, false]);
  }
  for (const address of ['ff02::1', 'FF12::d2e0:7614%eth0', '::', '::ffff:10.1.0.255']) {
    expect([address, answerable(address)]).toEqual([address, false]);
  }
  expect(answerable('10.1.0.9', 0)).toBe(false);
});

test('one host that has a /64 to itself is one source', () => {
  expect(limitedSource('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64');
  expect(limitedSource('2001:db8:1:2::6')).toBe('2001:db8:1:2::/64');
  expect(limitedSource('2001:db8::6')).toBe('2001:db8:0:0::/64');
  expect(limitedSource('fd00::2')).toBe('fd00:0:0:0::/64');
  expect(limitedSource('fe80::1%eth0')).toBe('fe80::1%eth0');
  expect(limitedSource('10.1.0.9')).toBe('10.1.0.9');
  expect(limitedSource('::1')).toBe('::1');
});
