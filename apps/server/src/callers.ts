import {
  bearerOf,
  principalUnknown,
  type ArrivingCall,
  type Caller,
  type CredentialVerifier,
  type FailedSignIns,
} from '@drover/access';
import { isLoopback } from '@drover/app-config';
import { DroverError } from '@drover/lease-kit';
import { LeaseService } from '@drover/lease-protocol';
import { createHash, timingSafeEqual } from 'node:crypto';

/** The header in which an agent names itself. */
export const agentIdHeader = 'drover-agent-id';
/** The header in which a person or program names itself. */
export const userHeader = 'drover-user';

/**
 * Development mode: whoever reaches the server, which listens on loopback alone, is an administrator by the name that he
 * gives (`local` if none), or the agent that it names. A browser of this machine reaches it too, on behalf of any page: a call
 * that came for another name than one of loopback (as after DNS rebinding), or from a page of another machine, throws
 * `ORIGIN_REFUSED`. Who shows a credential means to be somebody: one that is not right is refused here as everywhere.
 */
export function developmentVerifier(): CredentialVerifier {
  return {
    verify(call) {
      if (call.header.get('authorization') !== null) return undefined;
      const origin = call.header.get('origin');
      const places = [`http://${call.authority ?? ''}`, ...(origin === null ? [] : [origin])];
      const strange = places.find((place) => !isOnLoopback(place));
      if (strange !== undefined) {
        throw new DroverError({
          code: 'ORIGIN_REFUSED',
          advice: 'denied',
          message: `access.development answers calls to loopback from this machine alone; this one is of ${JSON.stringify(strange.slice(0, 200))}`,
        });
      }
      return selfNamed(call, 'local', 'development');
    },
  };
}

function isOnLoopback(place: string): boolean {
  const url = URL.parse(place);
  return url !== null && isLoopback(url.hostname);
}

/**
 * The bootstrap token: whoever knows it is an administrator by the name that he gives (`bootstrap` if none), or the agent
 * that it names. Whoever guesses often waits, and so does the right token from his address: an answer would tell him.
 */
export function bootstrapVerifier(token: string, failures: FailedSignIns): CredentialVerifier {
  const wanted = hash(token);
  return {
    verify(call) {
      const shown = bearerOf(call.header);
      if (shown === undefined) return undefined;
      const { remoteAddress } = call.peer;
      failures.check(remoteAddress);
      // Hashes have one length, which timingSafeEqual asks for.
      if (!timingSafeEqual(hash(shown), wanted)) {
        failures.note(remoteAddress);
        return undefined;
      }
      return selfNamed(call, 'bootstrap', 'bootstrap token');
    },
  };
}

/** The last one asked: a credential that nobody knows is another answer than none. */
export function strangerVerifier(): CredentialVerifier {
  return {
    verify({ header }) {
      if (header.get('authorization') === null) return undefined;
      throw principalUnknown('it is none that this server gave out or accepts');
    },
  };
}

function selfNamed(call: ArrivingCall, unnamed: string, credential: string): Caller {
  const address = call.peer.remoteAddress;
  const isAgent = call.service === LeaseService.typeName;
  const id = call.header.get(isAgent ? agentIdHeader : userHeader) ?? (isAgent ? '' : unnamed);
  if (!/^[\w.@:+-]{1,128}$/.test(id)) {
    throw new DroverError({
      code: 'PRINCIPAL_INVALID',
      advice: 'denied',
      message: `${isAgent ? agentIdHeader : userHeader} must be 1 to 128 letters, digits and . _ @ : + -`,
    });
  }
  return isAgent
    ? { principal: { kind: 'agent', id }, address, credential }
    : { principal: { kind: 'user', id }, role: 'admin', address, credential };
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
