import { isIP } from 'node:net';

/** True for an address or name that only this machine reaches: `localhost`, `127.0.0.0/8` and `::1`, in brackets or not. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (name === 'localhost' || name === '::1') return true;
  return isIP(name) === 4 && name.startsWith('127.');
}
