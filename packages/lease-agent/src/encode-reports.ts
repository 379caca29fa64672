import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { AgentLeaseListSchema, AgentLeaseSchema, type AgentLease } from '@drover/lease-protocol';

/** Reports encoded together: a report may hold an output of some ten kilobytes. */
const togetherMax = 256;

/**
 * Each report as its own message in bytes, in their order. They are encoded as one list and cut out of it, since a message
 * that is encoded alone costs five times as much, for its buffer.
 */
export function encodeReports(reports: readonly AgentLease[]): Uint8Array[] {
  const [first] = reports;
  if (first === undefined) return [];
  if (reports.length === 1) return [toBinary(AgentLeaseSchema, first)];
  const encoded: Uint8Array[] = [];
  for (let from = 0; from < reports.length; from += togetherMax) {
    const leases = reports.slice(from, from + togetherMax);
    const reader = new BinaryReader(toBinary(AgentLeaseListSchema, create(AgentLeaseListSchema, { leases })));
    while (reader.pos < reader.len) {
      reader.tag();
      encoded.push(reader.bytes());
    }
  }
  return encoded;
}
