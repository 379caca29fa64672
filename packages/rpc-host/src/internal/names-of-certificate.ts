import type { TLSSocket } from 'node:tls';

const agentUrn = 'urn:drover:agent:';
/** One look a connection: reading a certificate costs more than a call. */
const known = new WeakMap<object, readonly string[] | 'none'>();

/** True if the other end has shown a certificate, right or wrong. */
export function hasCertificate(socket: TLSSocket): boolean {
  return Object.keys(socket.getPeerCertificate() ?? {}).length > 0;
}

/**
 * Whom a client certificate that TLS has checked is for: its common names, its DNS names, and what follows
 * `urn:drover:agent:` in its URIs. Undefined if none was shown.
 */
export function namesOfCertificate(socket: TLSSocket): readonly string[] | undefined {
  let names = known.get(socket);
  if (names === undefined) {
    names = socket.authorized && hasCertificate(socket) ? readNames(socket) : 'none';
    known.set(socket, names);
  }
  return names === 'none' ? undefined : names;
}

function readNames(socket: TLSSocket): readonly string[] {
  const { subject, subjectaltname = '' } = socket.getPeerCertificate();
  const names = new Set([(subject?.CN as string | readonly string[] | undefined) ?? []].flat());
  // Node writes an entry that holds a comma or a quote as a JSON string, so that none can pass for two.
  for (const [, kind, text = ''] of subjectaltname.matchAll(/(?:^|, )(DNS|URI):("(?:[^"\\]|\\.)*"|[^,]*)/g)) {
    const value = text.startsWith('"') ? String(JSON.parse(text)) : text;
    if (kind === 'DNS') names.add(value);
    else if (value.startsWith(agentUrn)) names.add(value.slice(agentUrn.length));
  }
  return [...names];
}
