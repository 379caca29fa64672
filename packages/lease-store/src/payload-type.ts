import type { Any } from '@bufbuild/protobuf/wkt';

/** The type name of a packed message: what stands behind the last slash of its type URL. */
export function payloadTypeOf(payload: Pick<Any, 'typeUrl'>): string {
  return payload.typeUrl.slice(payload.typeUrl.lastIndexOf('/') + 1);
}
