import type { Principal } from '@drover/lease-kit';
import type { Change } from './change.ts';

/** On whose behalf a call reaches the store, and until when its answer is wanted. */
export interface StoreContext {
  readonly principal: Principal;
  /** Aborting abandons the call; a write may then have happened or not. */
  readonly signal?: AbortSignal;
  /** Set where a person or program changes something: what the audit is told of it. */
  readonly change?: Change;
}
