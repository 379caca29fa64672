import { DroverError } from '@drover/lease-kit';
import type { TaskTokenClaims } from './task-token-claims.ts';

/** Bounds of a {@link TaskTokenReplayGuard}. */
export interface TaskTokenReplayGuardOptions {
  /** Tokens that are remembered, about 200 bytes each. Default 262,144. */
  readonly tokensMax?: number;
  /** As `checkTaskToken` was told, in ms: a token is remembered for as long after its expiry. Default 30,000. */
  readonly clockSkewMs?: number;
}

/** Tokens that expire within one such span are forgotten together. */
const spanMs = 10_000;

/**
 * Takes each task token once. It remembers a token for as long as it is valid, so that memory is bounded by the tokens of a
 * few minutes. What a worker forgets when it starts anew is void by its new registration.
 */
export class TaskTokenReplayGuard {
  readonly #tokensMax: number;
  readonly #clockSkewMs: number;
  /** Ids by the span in which they are forgotten. */
  readonly #spans = new Map<number, Set<string>>();
  #size = 0;

  constructor({ tokensMax = 262_144, clockSkewMs = 30_000 }: TaskTokenReplayGuardOptions = {}) {
    this.#tokensMax = tokensMax;
    this.#clockSkewMs = clockSkewMs;
  }

  /** How many tokens are remembered. */
  get size(): number {
    return this.#size;
  }

  /**
   * Uses a token up; `nowMs` is what it was checked with. Throws `TASK_TOKEN_USED` (`denied`), and `TASK_TOKENS_FULL`
   * (`exhausted`) where it could not be remembered.
   */
  use({ tokenId, expiresAtMs }: Pick<TaskTokenClaims, 'tokenId' | 'expiresAtMs'>, nowMs: number): void {
    for (const [span, ids] of this.#spans) {
      if ((span + 1) * spanMs > nowMs) continue;
      this.#size -= ids.size;
      this.#spans.delete(span);
    }
    const span = Math.floor((expiresAtMs + this.#clockSkewMs) / spanMs);
    const ids = this.#spans.get(span) ?? new Set();
    if (ids.has(tokenId)) {
      throw new DroverError({
        code: 'TASK_TOKEN_USED',
        advice: 'denied',
        message: 'The task token has been used before; each compile needs one of its own.',
      });
    }
    if (this.#size >= this.#tokensMax) {
      throw new DroverError({
        code: 'TASK_TOKENS_FULL',
        advice: 'exhausted',
        message: `${this.#tokensMax} task tokens are remembered until they expire, which is the most allowed.`,
        retryAfterMs: spanMs,
      });
    }
    ids.add(tokenId);
    this.#spans.set(span, ids);
    this.#size += 1;
  }
}
