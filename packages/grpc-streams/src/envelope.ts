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
