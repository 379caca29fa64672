import { toJson, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { createRegistry } from '@bufbuild/protobuf';
import { BatchResultSchema, BatchSchema, JobSchema } from '@drover/lease-type-job';

const registry = createRegistry(JobSchema, BatchSchema, BatchResultSchema);

/** A message as JSON for programs: the protobuf JSON mapping, with fields that have their default value too. */
export function jsonText<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): string {
  return JSON.stringify(toJson(schema, message, { registry, alwaysEmitImplicit: true }), null, 2);
}
