import type { Any } from '@bufbuild/protobuf/wkt';

/**
 * The type name of the message in an Any, by which leases are matched with handlers and planners: what stands behind the last
 * slash of its type URL, and the whole of one without a slash. Everything in front of it is free (google/protobuf/any.proto).
 */
export function payloadTypeOf(payload: Pick<Any, 'typeUrl'>): string {
  return payload.typeUrl.slice(payload.typeUrl.lastIndexOf('/') + 1);
}
