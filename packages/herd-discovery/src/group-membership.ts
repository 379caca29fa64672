import { messageOf, type Logger } from '@drover/lease-kit';
import type { Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { multicastLinks, type InterfaceAddress } from './link-addresses.ts';

/** Most links on which a socket is in a group. */
const linksMax = 64;

/** Keeps a socket in an IPv6 group on every link, as links come and go. */
export class GroupMembership {
  readonly #socket: Socket;
  readonly #group: string;
  readonly #logger: Logger;
  /** Names of links, with the number that tells a link from an earlier one of that name. */
  readonly #joined = new Map<string, number>();

  constructor(socket: Socket, group: string, logger: Logger) {
    this.#socket = socket;
    this.#group = group;
    this.#logger = logger;
  }

  /** Joins on the links that are new and leaves those that have gone. */
  follow(interfaces: readonly InterfaceAddress[]): void {
    const links = new Set(multicastLinks(interfaces).slice(0, linksMax));
    for (const [link, index] of this.#joined) {
      if (links.has(link) && interfaceIndex(link) === index) continue;
      this.#joined.delete(link);
      try {
        this.#socket.dropMembership(this.#group, zone(link));
      } catch {
        // The link took the membership with it.
      }
    }
    for (const link of links) {
      if (this.#joined.has(link)) continue;
      try {
        this.#socket.addMembership(this.#group, zone(link));
      } catch (error) {
        // Already in it: the membership outlived a change that we saw.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') {
          this.#logger.debug({ link, err: messageOf(error) }, 'a link is not joined; it is tried again');
          continue;
        }
      }
      this.#joined.set(link, interfaceIndex(link));
    }
  }
}

/** A link as Node takes it: by name, on Windows by number. */
function zone(link: string): string {
  return `::%${process.platform === 'win32' ? interfaceIndex(link) : link}`;
}

/** The number of the link that has this name now; 0 where the platform does not tell. */
function interfaceIndex(name: string): number {
  const sixth = networkInterfaces()[name]?.find(({ family }) => family === 'IPv6');
  return sixth?.family === 'IPv6' ? sixth.scopeid : 0;
}
