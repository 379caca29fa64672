import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  DiscoveryReplySchema,
  DiscoveryRequestSchema,
  type DiscoveryReply,
  type DiscoveryRequest,
} from '@drover/herd-protocol';

/** UDP port on which agents are asked, unless they are told another. */
export const discoveryPortDefault = 7614;

/**
 * IPv6 group that agents join on every link: of link-local scope and transient (RFC 4291, 2.7), its group id from the range
 * that hosts may take for themselves (RFC 3307, 4.3).
 */
export const discoveryGroup = 'ff12::d2e0:7614';

/** Versions of the herd protocol that this build speaks, the newest last. */
export const herdProtocols: readonly number[] = [1];

/** Size to which requests are padded, and above which a reply is dropped: fits in one frame of any LAN. */
export const datagramSizeBytesMax = 1_200;
/** Beyond this nothing of ours is so large, and nothing is parsed. */
const requestSizeBytesMax = 4_096;
const protocolsMax = 16;
const nonceSizeBytes = 16;
export const spreadMsMax = 1_000;

const head = Buffer.from('DRVHRD', 'ascii');
const requestType = 1;
const replyType = 2;

/** A request as a datagram, padded so that a reply fits. */
export function encodeRequest(nonce: Uint8Array, spreadMs: number): Buffer {
  const request = create(DiscoveryRequestSchema, { nonce, protocols: [...herdProtocols], spreadMs });
  const bare = head.length + 1 + toBinary(DiscoveryRequestSchema, request).length;
  // Tag and length of the padding take three bytes.
  request.padding = new Uint8Array(datagramSizeBytesMax - bare - 3);
  return Buffer.concat([head, Uint8Array.of(requestType), toBinary(DiscoveryRequestSchema, request)]);
}

/** A request, or undefined if the datagram is none that may be answered. */
export function decodeRequest(datagram: Uint8Array): DiscoveryRequest | undefined {
  const body = bodyOf(datagram, requestType, requestSizeBytesMax);
  if (body === undefined) return undefined;
  try {
    const request = fromBinary(DiscoveryRequestSchema, body);
    const isWell =
      request.nonce.length === nonceSizeBytes &&
      request.protocols.length >= 1 &&
      request.protocols.length <= protocolsMax &&
      request.spreadMs <= spreadMsMax;
    return isWell ? request : undefined;
  } catch {
    return undefined;
  }
}

/** A reply as a datagram. */
export function encodeReply(reply: Omit<DiscoveryReply, '$typeName' | '$unknown'>): Buffer {
  return Buffer.concat([
    head,
    Uint8Array.of(replyType),
    toBinary(DiscoveryReplySchema, create(DiscoveryReplySchema, reply)),
  ]);
}

/** A reply, or undefined if the datagram is none. */
export function decodeReply(datagram: Uint8Array): DiscoveryReply | undefined {
  const body = bodyOf(datagram, replyType, datagramSizeBytesMax);
  if (body === undefined) return undefined;
  try {
    const reply = fromBinary(DiscoveryReplySchema, body);
    return reply.nonce.length === nonceSizeBytes ? reply : undefined;
  } catch {
    return undefined;
  }
}

/** What the signature of a reply is over. */
export function signedBytes(nonce: Uint8Array, announcement: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from('drover-herd-reply-1\0', 'ascii'), nonce, announcement]);
}

function bodyOf(datagram: Uint8Array, type: number, sizeBytesMax: number): Uint8Array | undefined {
  const isOurs =
    datagram.length > head.length &&
    datagram.length <= sizeBytesMax &&
    head.equals(datagram.subarray(0, head.length)) &&
    datagram[head.length] === type;
  return isOurs ? datagram.subarray(head.length + 1) : undefined;
}
