import type { Rollout, RolloutBundle } from '@drover/agent-rollouts';
import type { StoreContext } from './store-context.ts';

/** What a channel is to become. */
export interface RolloutDraft extends Pick<
  Rollout,
  'channel' | 'rolloutId' | 'version' | 'bundles' | 'rings' | 'soakMs' | 'atOnceMax'
> {
  /** How long a new version has to prove healthy on its machine. */
  readonly healthyWithinMs: number;
  /** Agents with a newer version go back to this one. */
  readonly allowDowngrade: boolean;
}

/** A roll-out as it is stored: the newest one of its channel. */
export interface RolloutRecord extends Rollout, RolloutDraft {
  /** Grows with every change. */
  readonly revision: number;
  /** Why it is halted. */
  readonly reason?: { readonly code: string; readonly message: string };
  /** What the channel had before: the target of the last roll-out that was complete. */
  readonly previous?: { readonly version: string; readonly bundles: readonly RolloutBundle[] };
  readonly startedBy: string;
  readonly startedAtMs: number;
}

/** What becomes of a roll-out. */
export type RolloutChange =
  | { readonly kind: 'halt'; readonly reason: { readonly code: string; readonly message: string } }
  /** Goes on where it was halted; under the new id, what failed before does not count. */
  | { readonly kind: 'resume'; readonly rolloutId: string }
  | { readonly kind: 'ring-done' }
  | { readonly kind: 'next-ring' }
  | { readonly kind: 'complete' };

/** The wanted versions of channels: one roll-out each. Whoever changes one announces `work` of the source `upgrade`. */
export interface RolloutStore {
  /**
   * Starts a roll-out; that of its channel before is over. Throws `ROLLOUT_INVALID`, and `CHANNELS_FULL` beyond the bound of
   * channels.
   */
  startRollout(draft: RolloutDraft, context: StoreContext): Promise<RolloutRecord>;
  /** The roll-out of a channel; undefined if there was never one. */
  rollout(channel: string, context: StoreContext): Promise<RolloutRecord | undefined>;
  /** By channel. `after` is the last channel of the page before. */
  rollouts(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly RolloutRecord[]>;
  /**
   * Changes a roll-out that is still at `revision`. A halt takes back, in the same transaction, what its group wants of agents and
   * no lease carries yet, so that nothing of it is bound afterwards; starting another one does the same. Throws `ROLLOUT_NOT_FOUND`, `ROLLOUT_CHANGED` (somebody else was faster:
   * read it again), and `ROLLOUT_STATE` for a change that its state does not have.
   */
  changeRollout(
    channel: string,
    revision: number,
    change: RolloutChange,
    context: StoreContext,
  ): Promise<RolloutRecord>;
}
