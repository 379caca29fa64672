import { X509Certificate } from 'node:crypto';
import type { ConnectionOptions, PeerCertificate } from 'node:tls';

/** TLS to one agent, as Node's `tls.connect` takes it. */
export interface AgentTls extends Pick<
  ConnectionOptions,
  'ca' | 'cert' | 'key' | 'checkServerIdentity' | 'minVersion' | 'rejectUnauthorized'
> {
  /** Whom it leads to, for messages; absent: whoever answers. */
  readonly agentId?: string | undefined;
}

/** What a client shows and expects. */
export interface AgentTlsParts {
  readonly agentId: string;
  /** The authority that the agent was paired with, in PEM. */
  readonly authority: string;
  /** The client's certificate and key, in PEM. */
  readonly certificate: string;
  readonly key: string;
}

/** TLS that reaches this agent and nobody else: its own authority, and its id in place of a host name. */
export function pairedTls({ agentId, authority, certificate, key }: AgentTlsParts): AgentTls {
  return {
    agentId,
    ca: authority,
    cert: certificate,
    key,
    minVersion: 'TLSv1.3',
    checkServerIdentity: (_, certificateOfPeer) => agentMismatch(agentId, certificateOfPeer),
  };
}

/**
 * TLS to whoever answers, showing nothing: for pairing, which proves afterwards who it was, and for agents that take work of
 * anybody. It keeps listeners out and nobody else.
 */
export const unpairedTls: AgentTls = { rejectUnauthorized: false, minVersion: 'TLSv1.3' };

/** Undefined if the certificate is this agent's. */
function agentMismatch(agentId: string, { raw }: PeerCertificate): Error | undefined {
  const { subjectAltName } = new X509Certificate(raw);
  if (subjectAltName === `URI:urn:drover:agent:${agentId}`) return undefined;
  return Object.assign(new Error(`the certificate is for ${subjectAltName ?? 'nobody'}`), {
    code: 'ERR_TLS_CERT_ALTNAME_INVALID',
  });
}
