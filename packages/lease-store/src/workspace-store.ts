import type { StoreContext } from './store-context.ts';

/** A long-lived workspace that agents keep: which source, where, and how. */
export interface WorkspaceDraft {
  /** Letters, digits, `.`, `_`, `-`; compared without regard to case. */
  readonly name: string;
  /** The pools whose agents keep it, without regard to case. Empty: every agent. */
  readonly pools: readonly string[];
  /** Kind of the provider on the agent, e.g. `git`. */
  readonly provider: string;
  /** What the provider understands, e.g. the url of a repository. */
  readonly source: string;
  /** A branch, tag, ref or full id. Empty: the source's present one. */
  readonly revision: string;
  /** Below the agents' root of workspaces. */
  readonly folder: string;
  readonly submodules: boolean;
  /** Patterns of the files to bring. Empty: all. */
  readonly sparse: readonly string[];
  /** How much of the history to bring. 0: all. */
  readonly depth: number;
  /** What is removed with each sync. */
  readonly remove: 'nothing' | 'untracked' | 'untracked-and-ignored';
}

/** A workspace as it is stored. */
export interface WorkspaceRecord extends WorkspaceDraft {
  /** The principal that wrote it last. */
  readonly changedBy: string;
  readonly changedAtMs: number;
}

/**
 * The workspaces that the agents of a fleet keep, at most 256. Writes are audited in their transaction. Whoever changes one
 * announces `work` of the source `conform`.
 */
export interface WorkspaceStore {
  /** By name, without regard to case. `after` is the name of the last one of the page before. */
  workspaces(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly WorkspaceRecord[]>;
  /**
   * Adds it, or replaces all of the one of its name. `WORKSPACE_INVALID`; `WORKSPACE_FOLDER_TAKEN` if an agent of one pool
   * could have to keep another one in the same folder, inside it or around it; `WORKSPACES_FULL` beyond the bound.
   */
  putWorkspace(draft: WorkspaceDraft, context: StoreContext): Promise<WorkspaceRecord>;
  /** `WORKSPACE_NOT_FOUND`. Agents keep the folder unless they are told otherwise. */
  removeWorkspace(name: string, context: StoreContext): Promise<void>;
}
