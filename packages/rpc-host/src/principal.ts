import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createContextKey, createContextValues, type ContextValues, type HandlerContext } from '@connectrpc/connect';
import { DroverError, type Principal } from '@drover/lease-kit';
import { connectErrorFrom, unauthenticatedCode } from '@drover/rpc-errors';
import { Health } from '@drover/standard-protocols';
import { namesOfCertificate } from './internal/names-of-certificate.ts';

/** Where a call comes from. */
export interface RpcPeer {
  /** IP address of the other end of the connection, which may be a proxy's; empty if it is gone already. */
  readonly remoteAddress: string;
  /** The connection is TLS. */
  readonly encrypted: boolean;
  /** Names in the client certificate that TLS has checked, see `namesOfCertificate`; absent: none was shown. */
  readonly certificateNames?: readonly string[] | undefined;
}

/** What {@link PrincipalOf} may look at: the call before its body is read. */
export interface IncomingCall {
  /** Full name of the service, e.g. `drover.lease.v1.LeaseService`. */
  readonly service: string;
  readonly method: string;
  /** HOST:PORT that the caller called, without a port where the scheme's own is meant; empty if it said none. */
  readonly authority: string;
  /** Request headers, e.g. `authorization`. */
  readonly header: Headers;
  readonly peer: RpcPeer;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
  /** What interceptors and handlers find in their context; more may be set. */
  readonly values: ContextValues;
}

/**
 * On whose behalf a call is made. Undefined: nobody's, and the call ends as UNAUTHENTICATED before its body is read. What it
 * throws is the call's error.
 */
export type PrincipalOf = (call: IncomingCall) => Principal | undefined | Promise<Principal | undefined>;

const nobody: Principal = { kind: 'service', id: '' };

/**
 * The principal of a call, in `context.values`. The host sets it before any handler or interceptor runs; use
 * {@link principalFrom} to read it.
 */
export const principalKey = createContextKey<Principal>(nobody, { description: 'drover principal' });

const peerKey = createContextKey<RpcPeer>({ remoteAddress: '', encrypted: false }, { description: 'drover peer' });

/** The principal of a call. Throws `UNAUTHENTICATED` where no host has set one, so that nothing runs on nobody's behalf. */
export function principalFrom(values: ContextValues): Principal {
  const principal = values.get(principalKey);
  if (principal === nobody) throw unauthenticated('a call that did not come through the host');
  return principal;
}

/** Where a call comes from; without an address where no host has set one. */
export function peerFrom(values: ContextValues): RpcPeer {
  return values.get(peerKey);
}

/** Values of a new call: where it comes from. The socket is absent if it is gone already. */
export function callValues(socket: Socket | TLSSocket | undefined): ContextValues {
  return createContextValues().set(peerKey, peerOf(socket));
}

/** The other end of a connection. */
export function peerOf(socket: Socket | TLSSocket | undefined): RpcPeer {
  const isEncrypted = socket !== undefined && 'encrypted' in socket && socket.encrypted;
  const certificateNames = isEncrypted ? namesOfCertificate(socket) : undefined;
  return {
    remoteAddress: socket?.remoteAddress ?? '',
    encrypted: isEncrypted,
    ...(certificateNames === undefined ? {} : { certificateNames }),
  };
}

/**
 * Asks for the principal before the body of a call is received, decompressed or parsed. Health answers everybody, as the
 * probes of load balancers and orchestrators have no credentials; reflection does not.
 */
export function principalGate(principalOf: PrincipalOf): (context: HandlerContext) => Promise<void> {
  return async (context) => {
    const service = context.service.typeName;
    if (service === Health.typeName) return;
    let principal: Principal | undefined;
    try {
      principal = await principalOf({
        service,
        method: context.method.name,
        authority: URL.parse(context.url)?.host ?? '',
        header: context.requestHeader,
        peer: context.values.get(peerKey),
        signal: context.signal,
        values: context.values,
      });
      if (principal === undefined) throw unauthenticated(`${service}/${context.method.name}`);
    } catch (error) {
      throw connectErrorFrom(error);
    }
    context.values.set(principalKey, principal);
  };
}

function unauthenticated(what: string): DroverError {
  return new DroverError({
    code: unauthenticatedCode,
    advice: 'denied',
    message: `There is no principal for ${what}: the call needs credentials that this server accepts.`,
  });
}
