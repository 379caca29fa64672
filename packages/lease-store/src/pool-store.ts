import type { PoolDefinition } from '@drover/lease-matching';
import type { StoreContext } from './store-context.ts';

/** A pool to store. */
export interface PoolDraft extends PoolDefinition {
  /** For people, at most 1,024 characters. Default empty. */
  readonly comment?: string;
}

/** A pool as it is stored. */
export interface PoolRecord extends PoolDraft {
  readonly comment: string;
  /** The principal that wrote it last. */
  readonly changedBy: string;
  readonly changedAtMs: number;
}

/**
 * The pools of a fleet. Whoever changes one announces the signal `settings`. All writes throw what `definePools` throws for
 * the pool, so that no server ever reads one that it cannot use.
 */
export interface PoolStore {
  /** By name, without regard to case. `after` is the name of the last one of the page before. */
  pools(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly PoolRecord[]>;
  /** POOL_EXISTS, and POOLS_FULL beyond the bound of lease-matching. */
  createPool(pool: PoolDraft, context: StoreContext): Promise<PoolRecord>;
  /** Replaces all of it. POOL_NOT_FOUND. */
  replacePool(pool: PoolDraft, context: StoreContext): Promise<PoolRecord>;
  /** POOL_NOT_FOUND. Leases that name it go on to wait. */
  deletePool(name: string, context: StoreContext): Promise<void>;
}
