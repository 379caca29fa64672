import { DroverError } from '@drover/lease-kit';
import { isIPv6 } from 'node:net';

/** A machine that is asked by its name or address. */
export interface AgentHost {
  readonly host: string;
  /** UDP port on which it is asked. */
  readonly port: number;
}

/**
 * Reads `HOST`, `HOST:PORT`, `ADDRESS6` or `[ADDRESS6]:PORT`. Throws `AGENT_HOST_INVALID`, which says what is allowed.
 */
export function parseAgentHost(text: string, portDefault: number): AgentHost {
  const sixth = isIPv6(text) ? text : undefined;
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = sixth ?? bracketed ?? plain;
  const port = portText === undefined ? portDefault : Number(portText);
  const isHost =
    host !== undefined &&
    (bracketed === undefined ? sixth !== undefined || /^[\w](?:[\w.-]{0,252})$/.test(host) : isIPv6(bracketed));
  if (isHost && port >= 1 && port <= 65_535) return { host, port };
  throw new DroverError({
    code: 'AGENT_HOST_INVALID',
    advice: 'fix-input',
    message: `${JSON.stringify(text.slice(0, 300))} is no host of an agent; allowed: a name or an address, with :PORT from 1 to 65535 behind it or not, an IPv6 address in brackets if a port follows.`,
  });
}
