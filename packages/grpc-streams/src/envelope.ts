import { toBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';

/** Bytes in front of each message: a flag (0: not compressed) and the length, big-endian. */
export const envelopePrefixSizeBytes = 5;

/** A serialized message as one piece of a gRPC body, not compressed. */
export function envelope(payload: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(envelopePrefixSizeBytes + payload.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(payload.length, 1);
  bytes.set(payload, envelopePrefixSizeBytes);
  return bytes;
}

/** A serialized message in pieces, which are not copied: in front of them what {@link envelope} writes there. */
export function envelopePieces(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
  const prefix = Buffer.allocUnsafe(envelopePrefixSizeBytes);
  prefix[0] = 0;
  prefix.writeUInt32BE(
    pieces.reduce((sum, piece) => sum + piece.length, 0),
    1,
  );
  return [prefix, ...pieces];
}

/** A message as {@link envelope} writes it. Throws `resource_exhausted` for one that is longer than `sizeBytesMax`. */
export function encodeEnvelope<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  sizeBytesMax: number,
): Buffer {
  const payload = toBinary(schema, message);
  if (payload.length > sizeBytesMax) {
    const text = `message size ${payload.length} is larger than configured writeMaxBytes ${sizeBytesMax}`;
    throw new ConnectError(text, Code.ResourceExhausted);
  }
  return envelope(payload);
}
