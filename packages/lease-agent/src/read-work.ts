import { createHash } from 'node:crypto';
import { fromBinary, type Message } from '@bufbuild/protobuf';
import { AnySchema, durationMs, type Any } from '@bufbuild/protobuf/wkt';
import { messageOf, payloadTypeOf, type Clock, type LeaseHandler } from '@drover/lease-kit';
import type { HandlerRegistry } from '@drover/lease-handlers';
import type { ServerLease } from '@drover/lease-protocol';
import { persistently } from './attempt-outcome.ts';
import type { AgentBlobs } from './lease-agent-options.ts';

/** Work that this agent has a handler for. */
export interface ReadableWork {
  readonly handler: LeaseHandler;
  readonly payload: Message;
  readonly resources: Readonly<Record<string, number>>;
  readonly exclusive: boolean;
  /** Undefined: no limit. */
  readonly runLimitMs: number | undefined;
  /** Undefined: no limit. */
  readonly progressMsMax: number | undefined;
  readonly cancelGraceMs: number;
}

/** Why work cannot be taken. */
export interface Unreadable {
  readonly code: string;
  readonly message: string;
}

/** What reading work takes. */
export interface ReadWorkDeps {
  readonly registry: HandlerRegistry;
  readonly blobs: AgentBlobs | undefined;
  readonly clock: Clock;
  readonly payloadSizeBytesMax: number;
  readonly signal: AbortSignal;
}

/** How long a payload by digest waits for the blob store before the attempt is refused. */
const fetchMs = 15_000;

/** Finds the handler of an attempt and reads its payload; at once, unless the payload has to be fetched. */
export function readWork(
  entry: ServerLease,
  deps: ReadWorkDeps,
): ReadableWork | Unreadable | Promise<ReadableWork | Unreadable> {
  switch (entry.work.case) {
    case 'payload':
      return readPayload(entry, entry.work.value, deps);
    case 'payloadDigest':
      return fetchPayload(entry, deps);
    default:
      return { code: 'WORK_MISSING', message: 'the server offered the attempt without its work' };
  }
}

/** The counted resources of an entry. */
export function resourcesOf(entry: ServerLease): Record<string, number> {
  return Object.fromEntries(Object.entries(entry.resources).map(([name, amount]) => [name, Number(amount)]));
}

function readPayload(entry: ServerLease, any: Any, deps: ReadWorkDeps): ReadableWork | Unreadable {
  const payloadType = payloadTypeOf(any);
  const handler = deps.registry.find(payloadType);
  if (!handler) {
    const known = deps.registry.payloadTypes.join(', ') || 'none';
    return { code: 'LEASE_TYPE_UNKNOWN', message: `this agent has no handler for ${payloadType}; it has: ${known}` };
  }
  try {
    return {
      handler,
      payload: fromBinary(handler.type.payload, any.value),
      resources: resourcesOf(entry),
      exclusive: entry.exclusive,
      runLimitMs: entry.runLimit ? durationMs(entry.runLimit) : undefined,
      progressMsMax: entry.progressLimit ? durationMs(entry.progressLimit) : undefined,
      cancelGraceMs: entry.cancelGrace ? durationMs(entry.cancelGrace) : handler.type.cancelGraceMs,
    };
  } catch (error) {
    return { code: 'PAYLOAD_INVALID', message: `the payload is no ${payloadType}: ${messageOf(error)}` };
  }
}

async function fetchPayload(entry: ServerLease, deps: ReadWorkDeps): Promise<ReadableWork | Unreadable> {
  const { hash, sizeBytes } = entry.work.value as { readonly hash: string; readonly sizeBytes: bigint };
  const blob = { hash, sizeBytes: Number(sizeBytes) };
  const { blobs } = deps;
  if (!blobs)
    return { code: 'PAYLOAD_UNAVAILABLE', message: 'the payload is a blob, and this agent has no blob store' };
  if (blob.sizeBytes > deps.payloadSizeBytesMax) {
    const message = `the payload has ${blob.sizeBytes} bytes, at most ${deps.payloadSizeBytesMax} are allowed`;
    return { code: 'PAYLOAD_TOO_LARGE', message };
  }
  const read = await persistently(() => blobs.read(blob, deps.signal), deps, fetchMs);
  if (read.kind === 'failed') return { code: 'PAYLOAD_UNAVAILABLE', message: messageOf(read.error) };
  const bytes = read.value;
  if (bytes.length !== blob.sizeBytes || createHash('sha256').update(bytes).digest('hex') !== hash) {
    return { code: 'PAYLOAD_CORRUPT', message: `the blob store gave other bytes than those of ${hash}` };
  }
  try {
    return readPayload(entry, fromBinary(AnySchema, bytes), deps);
  } catch (error) {
    return { code: 'PAYLOAD_INVALID', message: `the blob ${hash} is no google.protobuf.Any: ${messageOf(error)}` };
  }
}
