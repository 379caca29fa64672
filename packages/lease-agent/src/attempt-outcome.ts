import { createHash } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { delay, isDroverError, messageOf, type Clock } from '@drover/lease-kit';
import { cutToBytes, type AttemptReport } from '@drover/lease-handlers';
import {
  AgentLeaseSchema,
  AgentState,
  BlobDigestSchema,
  Outcome,
  ReasonSchema,
  type AgentLease,
} from '@drover/lease-protocol';
import type { AttemptKey } from '@drover/reconciler-state-machine';
import type { AgentBlobs, LeaseAgentLimits, LeaseAgentTiming } from './lease-agent-options.ts';

const outcomes: Readonly<Record<AttemptReport['outcome'], Outcome>> = {
  completed: Outcome.COMPLETED,
  failed: Outcome.FAILED,
  'timed-out': Outcome.TIMED_OUT,
  cancelled: Outcome.CANCELLED,
  lost: Outcome.LOST,
};

/** Room in a message for everything but the list. */
const headroomBytes = 64 * 1024;
/** Most bytes of a reason's message; the bound stands in the proto. */
const reasonSizeBytesMax = 4_096;
/** Keys, states and digests of one entry, rounded up. */
const entryOverheadBytes = 512;

/**
 * How much one entry may take, so that a list of `leasesMax` ended attempts always fits into a message: a copy is whole or
 * it is nothing, and one that does not fit would never get through.
 */
export function entryBudget(limits: LeaseAgentLimits, leasesMax: number): { outputBytes: number; reasonBytes: number } {
  const each = Math.floor((limits.messageSizeMaxBytes - headroomBytes) / leasesMax) - entryOverheadBytes;
  const reasonBytes = Math.max(64, Math.min(reasonSizeBytesMax, Math.floor(each / 4)));
  return { reasonBytes, outputBytes: Math.max(0, Math.min(limits.outputInlineBytesMax, each - reasonBytes)) };
}

/** What turning a report into an entry takes. */
export interface OutcomeDeps {
  readonly blobs: AgentBlobs | undefined;
  readonly clock: Clock;
  readonly budget: ReturnType<typeof entryBudget>;
  readonly timing: LeaseAgentTiming;
  /** Aborted when the agent ends. */
  readonly signal: AbortSignal;
}

/** The entry that tells an attempt's end, when its output fits in it; otherwise undefined: see {@link outcomeEntry}. */
export function smallOutcomeEntry(key: AttemptKey, report: AttemptReport, deps: OutcomeDeps): AgentLease | undefined {
  if (report.output && report.output.value.length + report.output.typeUrl.length > deps.budget.outputBytes)
    return undefined;
  const entry = endedEntry(key, report, deps.budget.reasonBytes);
  if (report.output) entry.result = { case: 'output', value: report.output };
  return entry;
}

/**
 * The entry that tells an attempt's end. A large output goes to the blob store first, which is tried again while it is away.
 * An output that has no place ends the attempt as failed: `OUTPUT_TOO_LARGE`, `OUTPUT_NOT_STORED`.
 */
export async function outcomeEntry(key: AttemptKey, report: AttemptReport, deps: OutcomeDeps): Promise<AgentLease> {
  const small = smallOutcomeEntry(key, report, deps);
  if (small) return small;
  const { blobs, budget } = deps;
  const failed = (code: string, message: string): AgentLease =>
    endedEntry(key, { outcome: 'failed', reason: { code, message } }, budget.reasonBytes);
  const bytes = toBinary(AnySchema, report.output!);
  if (!blobs?.write) {
    const allowed = `at most ${budget.outputBytes} are allowed where the agent has no blob store`;
    return failed('OUTPUT_TOO_LARGE', `the output has ${bytes.length} bytes; ${allowed}`);
  }
  const blob = { hash: createHash('sha256').update(bytes).digest('hex'), sizeBytes: bytes.length };
  const stored = await persistently(() => blobs.write!(blob, bytes, deps.signal), deps, deps.timing.outputStoreMs);
  if (stored.kind === 'failed') return failed('OUTPUT_NOT_STORED', messageOf(stored.error));
  const entry = endedEntry(key, report, budget.reasonBytes);
  const value = create(BlobDigestSchema, { hash: blob.hash, sizeBytes: BigInt(blob.sizeBytes) });
  entry.result = { case: 'outputDigest', value };
  return entry;
}

/** The entry of an attempt that this machine does not take. */
export function refusedEntry(key: AttemptKey, code: string, message: string, reasonBytes: number): AgentLease {
  const reason = create(ReasonSchema, { code, message: cutToBytes(message, reasonBytes) });
  return create(AgentLeaseSchema, { leaseId: key.leaseId, attempt: key.attempt, state: AgentState.REFUSED, reason });
}

function endedEntry(key: AttemptKey, report: AttemptReport, reasonBytes: number): AgentLease {
  const entry = create(AgentLeaseSchema, {
    leaseId: key.leaseId,
    attempt: key.attempt,
    state: AgentState.FINISHED,
    outcome: outcomes[report.outcome],
  });
  if (report.reason) {
    const { code, message } = report.reason;
    entry.reason = create(ReasonSchema, { code: cutToBytes(code, 128), message: cutToBytes(message, reasonBytes) });
  }
  return entry;
}

/** Tries until it works, for so long; what a repetition cannot cure fails at once. */
export async function persistently<T>(
  run: () => Promise<T>,
  deps: Pick<OutcomeDeps, 'clock' | 'signal'>,
  forMs: number,
): Promise<{ readonly kind: 'done'; readonly value: T } | { readonly kind: 'failed'; readonly error: unknown }> {
  const untilMs = deps.clock.monotonicMs() + forMs;
  for (let waitMs = 100; ; waitMs = Math.min(10_000, waitMs * 2)) {
    try {
      return { kind: 'done', value: await run() };
    } catch (error) {
      const lasting = isDroverError(error) && !['unavailable', 'exhausted', 'internal'].includes(error.advice);
      if (lasting || deps.signal.aborted || deps.clock.monotonicMs() + waitMs > untilMs)
        return { kind: 'failed', error };
      await delay(deps.clock, waitMs, deps.signal);
    }
  }
}
