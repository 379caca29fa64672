import { isIPv4 } from 'node:net';
import { broadcastAddress, isLinkLocal, type InterfaceAddress } from './link-addresses.ts';

/**
 * False for a source to which nothing is sent, since more than one machine, or none, would get it: groups, broadcast
 * addresses, unspecified ones, port 0. A request with such a source is forged.
 */
export function isAnswerable(address: string, port: number, interfaces: readonly InterfaceAddress[]): boolean {
  if (port === 0) return false;
  if (!isIPv4(address)) return !/^(?:ff|::(?:%|$)|::ffff:)/i.test(address);
  const first = Number(address.split('.')[0]);
  if (first === 0 || first >= 224) return false;
  return !interfaces.some((one) => one.family === 4 && broadcastAddress(one) === address);
}

/** What counts as one source: an IPv4 address, an IPv6 link-local one, or the /64 of another, which one host fills at will. */
export function limitedSource(address: string): string {
  if (isIPv4(address) || isLinkLocal(address) || address === '::1') return address;
  const [before = '', after] = address.split('::');
  const groups = before === '' ? [] : before.split(':');
  const rest = after === undefined || after === '' ? 0 : after.split(':').length;
  const zeros = after === undefined ? 0 : 8 - groups.length - rest;
  const all = [...groups, ...Array<string>(zeros).fill('0'), ...(after ?? '').split(':')];
  return `${all.slice(0, 4).join(':')}::/64`;
}
