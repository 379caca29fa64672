/** What a sync removes that the source does not have. */
export type WorkspaceRemoval = 'nothing' | 'untracked' | 'untracked-and-ignored';

/** Which source, at which revision, in which long-lived folder. */
export interface WorkspaceSyncRequest {
  /** What the provider's kind understands, e.g. the url of a repository. */
  readonly source: string;
  /** A full revision id or a name, such as a branch. Absent means the source's present one. */
  readonly revision?: string;
  /** The folder of all workspaces of the machine: an absolute path. It is made if it is not there. */
  readonly root: string;
  /** Where below `root`, with `/` between names, e.g. `engine/main`. */
  readonly folder: string;
  /** True brings what the source includes by reference (git submodules) as well; default false. */
  readonly submodules?: boolean;
  /** Which files to bring, as patterns of the provider. Absent or empty means all. */
  readonly sparse?: readonly string[];
  /** How many revisions of the history to bring. Absent means all. */
  readonly depth?: number;
  /** Default `nothing`. What is tracked is put back to the revision in any case. */
  readonly remove?: WorkspaceRemoval;
}

/** What a sync found and changed. */
export interface WorkspaceSyncReport {
  /** The revision that was there before. Absent for a workspace that is new, or was too broken to tell. */
  readonly from?: string;
  /** The full id of what is there now. */
  readonly to: string;
  /** Between the two revisions; all files are added where `from` is absent. */
  readonly filesAdded: number;
  readonly filesChanged: number;
  readonly filesRemoved: number;
  /** Tracked files that had been changed or removed here, and were put back. */
  readonly filesRestored: number;
  /** Files and folders that were not tracked and were removed. */
  readonly untrackedRemoved: number;
  /** By how much what the provider keeps (not the files themselves) grew on disk; 0 if it shrank. */
  readonly storedBytes: number;
  /** True if damage or what a killed sync left was repaired first. */
  readonly repaired: boolean;
}

/** How a sync is watched and ended. */
export interface WorkspaceSyncContext {
  /** Abort throws the signal's reason; the next sync takes up from there. */
  readonly signal: AbortSignal;
  /** Told how far it is, 0 to 100, and what it does; never goes back. */
  readonly progress?: (percent: number, message: string) => void;
}

/**
 * Keeps long-lived workspaces of a machine as their source is now. Cases that every one must pass are in
 * `@drover/workspaces/testing`.
 */
export interface WorkspaceSyncProvider {
  /** What it understands, in one word: `git`. */
  readonly kind: string;
  /**
   * Makes the folder hold exactly what the revision tracks, whatever was done to it: changed files are put back, moved and
   * rewritten revisions followed, and what a killed process left is repaired. A failure leaves the workspace as it is or
   * for the next sync to complete. Throws a `DroverError`: those of `claimWorkspaceFolder`, an advice of `not-found` for a
   * source or revision that does not exist, and each provider's own codes.
   */
  sync(request: WorkspaceSyncRequest, context: WorkspaceSyncContext): Promise<WorkspaceSyncReport>;
}
