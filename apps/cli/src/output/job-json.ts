import {
  create,
  createMutableRegistry,
  fromJson,
  toBinary,
  toJson,
  type DescMessage,
  type MessageShape,
  type Registry,
} from '@bufbuild/protobuf';
import { AnySchema, StructSchema, type Any } from '@bufbuild/protobuf/wkt';
import { payloadTypeOf } from '@drover/lease-kit';
import { ConformResultSchema, ConformWishSchema } from '@drover/lease-type-conform';
import { BatchResultSchema, BatchSchema, JobSchema } from '@drover/lease-type-job';
import { RestartResultSchema, RestartSchema } from '@drover/lease-type-restart';
import { ShutdownResultSchema, ShutdownSchema } from '@drover/lease-type-shutdown';

const ownTypes = [
  ...[JobSchema, BatchSchema, BatchResultSchema],
  ...[RestartSchema, RestartResultSchema, ShutdownSchema, ShutdownResultSchema],
  ...[ConformWishSchema, ConformResultSchema],
  StructSchema,
];
const structUrl = `type.googleapis.com/${StructSchema.typeName}`;

/**
 * A message as JSON for programs: the protobuf JSON mapping, with fields that have their default value too. A packed message
 * whose type is neither of a built-in lease type nor among `types` is shown as `{ "@type": …, "value": <base64> }`.
 */
export function jsonText<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  types: readonly DescMessage[] = [],
): string {
  const registry = createMutableRegistry(...ownTypes, ...types);
  const readable = withReadableAny(message, registry) as MessageShape<Desc>;
  const json = toJson(schema, readable, { registry, alwaysEmitImplicit: true });
  return JSON.stringify(json, (_, value: unknown) => unwrapped(value), 2);
}

/** The same message with every Any of a type that nobody here knows replaced by one that holds its bytes as text. */
function withReadableAny(value: unknown, registry: Registry): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map((one) => withReadableAny(one, registry));
  if ((value as { $typeName?: string }).$typeName === AnySchema.typeName) return readableAny(value as Any, registry);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withReadableAny(inner, registry)]));
}

function readableAny(any: Any, registry: Registry): Any {
  if (any.typeUrl === '' || registry.getMessage(payloadTypeOf(any)) !== undefined) return any;
  const shown = { '@type': any.typeUrl, value: Buffer.from(any.value).toString('base64') };
  return create(AnySchema, { typeUrl: structUrl, value: toBinary(StructSchema, fromJson(StructSchema, shown)) });
}

function unwrapped(value: unknown): unknown {
  const packed = value as { '@type'?: unknown; value?: { '@type'?: unknown } } | null;
  const isShown = packed?.['@type'] === structUrl && packed.value?.['@type'] !== undefined;
  return isShown ? packed.value : value;
}
