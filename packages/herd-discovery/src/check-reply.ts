import { fromBinary } from '@bufbuild/protobuf';
import {
  AgentAnnouncementSchema,
  AgentAvailability,
  type AgentAnnouncement,
  type DiscoveryReply,
  type FoundAgent,
} from '@drover/herd-protocol';
import { createPublicKey, verify } from 'node:crypto';
import { herdProtocols, signedBytes } from './discovery-wire.ts';
import type { KnownAgents } from './finder-deps.ts';
import type { DropReason } from './search-events.ts';

/** What a reply comes to. */
export type CheckedReply =
  | { readonly kind: 'agent'; readonly agent: FoundAgent }
  | { readonly kind: 'other-version'; readonly announcement: AgentAnnouncement }
  | { readonly kind: 'dropped'; readonly reason: DropReason };

/** By which way a reply came. */
export interface ReplyPath {
  /** Where its agent is reached. */
  readonly host: string;
  readonly roundTripMs: number;
}

/** What a reply says, unchecked; undefined if it is no announcement. */
export function readAnnouncement(reply: DiscoveryReply): AgentAnnouncement | undefined {
  try {
    const announcement = fromBinary(AgentAnnouncementSchema, reply.announcement);
    return isWell(announcement) ? announcement : undefined;
  } catch {
    return undefined;
  }
}

/** Checks who signed a reply, whose nonce is known to be right. */
export function checkReply(
  reply: DiscoveryReply,
  announcement: AgentAnnouncement,
  path: ReplyPath,
  knownAgents: KnownAgents | undefined,
): CheckedReply {
  const known = knownAgents?.keyOf(announcement.agentId);
  // Without a common version an agent tells no key: who is not known by one cannot be checked, and is not trusted either.
  const key = known ?? (announcement.protocol === 0 ? undefined : announcement.key);
  if (key !== undefined && !isSigned(reply, key)) return { kind: 'dropped', reason: 'forged' };
  if (announcement.protocol === 0) return { kind: 'other-version', announcement };
  return { kind: 'agent', agent: foundAgent(announcement, path, known !== undefined) };
}

function isWell({ agentId, protocol, port, key, certificateSha256 }: AgentAnnouncement): boolean {
  if (!/^[\w.@:+-]{1,128}$/.test(agentId) || agentId.startsWith('legacy:')) return false;
  if (protocol === 0) return true;
  const hasPort = port >= 1 && port <= 65_535;
  return herdProtocols.includes(protocol) && hasPort && key.length === 32 && certificateSha256.length === 32;
}

function isSigned({ nonce, announcement, signature }: DiscoveryReply, key: Uint8Array): boolean {
  if (signature.length !== 64 || key.length !== 32) return false;
  try {
    const x = Buffer.from(key).toString('base64url');
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    return verify(null, signedBytes(nonce, announcement), publicKey, signature);
  } catch {
    return false;
  }
}

const availabilities: Readonly<Partial<Record<AgentAvailability, FoundAgent['availability']>>> = {
  [AgentAvailability.AVAILABLE]: 'available',
  [AgentAvailability.BUSY]: 'busy',
};

function foundAgent(announcement: AgentAnnouncement, path: ReplyPath, trusted: boolean): FoundAgent {
  const { agentId, name, version, architecture, processors, gpus, pools, key } = announcement;
  return {
    agentId,
    protocol: 'drover',
    name: name === '' ? path.host : name,
    addresses: [{ host: path.host, port: announcement.port }],
    // Of an availability that is not known it is not known either that it takes jobs.
    availability: availabilities[announcement.availability] ?? 'closed',
    version,
    architecture,
    processors,
    slots: { total: announcement.slotsTotal, free: Math.min(announcement.slotsFree, announcement.slotsTotal) },
    ram: { total: Number(announcement.ramTotalBytes), free: Number(announcement.ramFreeBytes) },
    load: Number.isFinite(announcement.load) ? Math.min(1, Math.max(0, announcement.load)) : 0,
    gpus,
    pools,
    certificateSha256: Buffer.from(announcement.certificateSha256).toString('hex'),
    // Not a view of the datagram, which would be kept with it.
    key: Uint8Array.from(key),
    trusted,
    roundTripMs: path.roundTripMs,
  };
}
