import { isDroverError, type CallContext } from '@drover/lease-kit';
import type { AppendLogRequest } from '@drover/lease-protocol';
import type { LeaseSession } from './lease-session.ts';
import type { ServerParts } from './server-parts.ts';
import { attemptNotBound, copyInvalid, logsBusy } from './session-errors.ts';

/** Most bytes of one piece; the bound stands in the proto. */
const pieceBytesMax = 262_144;

/** Carries pieces of logs to the store, within a bound on what is under way. */
export class LogRelay {
  readonly #parts: ServerParts;
  #pendingBytes = 0;

  constructor(parts: ServerParts) {
    this.#parts = parts;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Adds a piece; answers how many bytes are kept. Throws `LOGS_BUSY`, `COPY_INVALID`, or what the store throws. */
  async append(session: LeaseSession, request: AppendLogRequest, context: CallContext): Promise<bigint> {
    const { store, limits } = this.#parts;
    const { attempt, data } = request;
    if (attempt === undefined) throw copyInvalid('attempt is missing');
    if (data.byteLength > pieceBytesMax) {
      throw copyInvalid(`data has ${data.byteLength} bytes; allowed: at most ${pieceBytesMax}`);
    }
    if (request.offset > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw copyInvalid(`offset is ${request.offset}; allowed: at most 2^53 - 1`);
    }
    if (this.#pendingBytes + data.byteLength > limits.pendingLogBytesMax) throw logsBusy(limits.pendingLogBytesMax);
    this.#pendingBytes += data.byteLength;
    try {
      const { committedBytes } = await store.logs.append(
        {
          ...session.ref,
          leaseId: attempt.leaseId,
          attempt: attempt.attempt,
          log: request.log,
          offset: Number(request.offset),
          data,
          complete: request.complete,
        },
        { principal: context.principal, signal: context.signal },
      );
      store.signals.announce({ kind: 'log', leaseId: attempt.leaseId });
      return BigInt(committedBytes);
    } catch (error) {
      // The session is alive here, so the attempt is what is over; the agent must not take itself for fenced.
      if (isDroverError(error) && error.advice === 'fenced' && !session.ended) {
        throw attemptNotBound(attempt.leaseId, attempt.attempt);
      }
      throw error;
    } finally {
      this.#pendingBytes -= data.byteLength;
    }
  }
}
