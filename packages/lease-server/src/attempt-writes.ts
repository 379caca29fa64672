import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt';
import { digestFromWire, digestOfBytes, type BlobPins, type ContentStore, type Digest } from '@drover/content-store';
import { isDroverError, messageOf, payloadTypeOf } from '@drover/lease-kit';
import { Outcome, type BlobDigest } from '@drover/lease-protocol';
import type { AttemptOutcome, AttemptWrite, SessionRef } from '@drover/lease-store';
import type { ServerWrite } from '@drover/reconciler-state-machine';
import { inlinePayloadBytesMax, payloadReference } from '@drover/task-sources';
import type { AgentReport } from './wire-copies.ts';

type EndWrite = Extract<AttemptWrite, { kind: 'end' }>;

/** What turning an end into a write needs. */
export interface AttemptWriteDeps {
  readonly judge: ((output: Any) => boolean | undefined) | undefined;
  readonly blobs: (ContentStore & BlobPins) | undefined;
}

/** An output that is read from the content store to be judged has at most this many bytes. */
const judgedBytesMax = 16 * 1024 * 1024;
/** The longest reason that is stored, in UTF-16 code units. */
const messageLengthMax = 1_024;
/** How long an output in the content store is kept after its end was reported. */
const outputPinMs = 30 * 24 * 3_600_000;

const outcomes: Readonly<Record<Outcome, AttemptOutcome | undefined>> = {
  [Outcome.UNSPECIFIED]: undefined,
  [Outcome.COMPLETED]: 'completed',
  [Outcome.FAILED]: 'failed',
  [Outcome.TIMED_OUT]: 'timed-out',
  [Outcome.CANCELLED]: 'cancelled',
  [Outcome.LOST]: 'lost',
};

/**
 * A write of the machine as the store takes it. A promise only where the content store must be asked: for an output that is
 * there, or is too large for a row. `cancelCode`: why the attempt is cancelling, where no person wished it.
 */
export function attemptWriteOf(
  session: SessionRef,
  write: ServerWrite<AgentReport>,
  deps: AttemptWriteDeps,
  cancelCode?: string,
): AttemptWrite | Promise<AttemptWrite> {
  const key = {
    agentId: session.agentId,
    epoch: session.epoch,
    leaseId: write.key.leaseId,
    attempt: write.key.attempt,
  };
  if (write.kind === 'acceptance') {
    return write.goingDown ? { ...key, kind: 'acceptance', goingDown: true } : { ...key, kind: 'acceptance' };
  }
  const end = { ...key, kind: 'end' as const, noRetry: write.cancelWished };
  const { ending } = write;
  switch (ending.kind) {
    case 'lost':
      return {
        ...end,
        outcome: 'lost',
        reason: reason('ATTEMPT_LOST', 'The agent no longer has it; it may have run.'),
      };
    case 'not-started':
      return {
        ...end,
        outcome: 'lost',
        reason: reason('START_TIMED_OUT', 'Its agent did not take it in time; it may be about to.'),
      };
    case 'cancelled-unoffered':
      return cancelled(end, cancelCode, reason('LEASE_CANCELLED', 'Cancelled before its agent heard of it.'));
    case 'refused': {
      const why = reasonOf(ending.report, 'ATTEMPT_REFUSED', 'The agent refused it.');
      // A wish to cancel wins over a refusal: nobody else is to take it.
      return write.cancelWished ? cancelled(end, cancelCode, why) : { ...end, outcome: 'refused', reason: why };
    }
    case 'reported':
      return reportedEnd(end, ending.report, deps);
  }
}

/** An end that the agent had no part in: cancelled by somebody, or, with a code, by the clock. */
function cancelled(
  end: Omit<EndWrite, 'outcome'>,
  cancelCode: string | undefined,
  why: NonNullable<EndWrite['reason']>,
): EndWrite {
  if (cancelCode === undefined) return { ...end, outcome: 'cancelled', reason: why };
  return { ...end, outcome: 'timed-out', reason: reason(cancelCode, why.message) };
}

function reportedEnd(
  end: Omit<EndWrite, 'outcome'>,
  report: AgentReport,
  deps: AttemptWriteDeps,
): AttemptWrite | Promise<AttemptWrite> {
  const outcome = outcomes[report.outcome];
  if (outcome === undefined) {
    return {
      ...end,
      outcome: 'failed',
      reason: reason('OUTCOME_MISSING', 'The agent reported an end without an outcome.'),
    };
  }
  const base: EndWrite =
    outcome === 'completed'
      ? { ...end, outcome }
      : { ...end, outcome, reason: reasonOf(report, 'NO_REASON', 'The agent gave no reason.') };
  switch (report.result.case) {
    case undefined:
      return base;
    case 'output': {
      const output = report.result.value;
      if (output.value.byteLength <= inlinePayloadBytesMax || deps.blobs === undefined) {
        return withOutput(base, output, output, deps);
      }
      return storedOutput(base, output, deps.blobs, deps);
    }
    case 'outputDigest':
      return referencedOutput(base, report.result.value, deps);
  }
}

/** `stored` is what the row holds: `output`, or a reference to it. */
function withOutput(base: EndWrite, output: Any, stored: Any, deps: AttemptWriteDeps): EndWrite {
  if (base.outcome !== 'completed') return { ...base, output: stored };
  const succeeded = judged(output, deps);
  return succeeded === undefined ? { ...base, output: stored } : { ...base, output: stored, succeeded };
}

function judged(output: Any, deps: AttemptWriteDeps): boolean | undefined {
  try {
    return deps.judge?.(output);
  } catch {
    // A judge that cannot read the output cannot say that the work succeeded.
    return false;
  }
}

async function storedOutput(
  base: EndWrite,
  output: Any,
  blobs: ContentStore & BlobPins,
  deps: AttemptWriteDeps,
): Promise<EndWrite> {
  const bytes = toBinary(AnySchema, output);
  const digest = digestOfBytes(bytes);
  try {
    await blobs.write(digest, bytes);
    await pinOutput(base, digest, blobs);
  } catch (error) {
    return unreadable(base, 'OUTPUT_NOT_STORABLE', error);
  }
  return withOutput(base, output, payloadReference(payloadTypeOf(output), digest), deps);
}

async function referencedOutput(base: EndWrite, wire: BlobDigest, deps: AttemptWriteDeps): Promise<EndWrite> {
  const { blobs } = deps;
  if (blobs === undefined) return unreadable(base, 'OUTPUT_UNREADABLE', new Error('this server has no content store'));
  try {
    const digest = digestFromWire(wire);
    if (digest.sizeBytes > judgedBytesMax) {
      const error = new Error(`the output has ${digest.sizeBytes} bytes; allowed: at most ${judgedBytesMax}`);
      return unreadable(base, 'OUTPUT_TOO_LARGE', error);
    }
    await pinOutput(base, digest, blobs);
    const bytes = new Uint8Array(digest.sizeBytes);
    let size = 0;
    for await (const chunk of blobs.read(digest)) {
      bytes.set(chunk, size);
      size += chunk.byteLength;
    }
    const output = fromBinary(AnySchema, bytes);
    return withOutput(base, output, payloadReference(payloadTypeOf(output), digest), deps);
  } catch (error) {
    return unreadable(base, 'OUTPUT_UNREADABLE', error);
  }
}

function pinOutput(base: EndWrite, digest: Digest, blobs: BlobPins): Promise<unknown> {
  return blobs.pin([digest], { owner: `output:${base.leaseId}:${base.attempt}`, expiresAfterMs: outputPinMs });
}

/** An attempt that completed and whose output nobody can read has not succeeded. */
function unreadable(base: EndWrite, code: string, error: unknown): EndWrite {
  if (base.outcome !== 'completed') return base;
  const why = isDroverError(error) ? `${error.code}: ${error.message}` : messageOf(error);
  return { ...base, succeeded: false, reason: reason(code, `Its output cannot be kept: ${why}`) };
}

function reasonOf(report: AgentReport, code: string, message: string): NonNullable<EndWrite['reason']> {
  const given = report.reason;
  if (given === undefined) return reason(code, message);
  return reason(given.code === '' ? code : given.code.slice(0, 128), given.message);
}

function reason(code: string, message: string): NonNullable<EndWrite['reason']> {
  return { code, message: message.slice(0, messageLengthMax) };
}
