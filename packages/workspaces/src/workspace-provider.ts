/** Which source, at which revision, where. */
export interface WorkspaceRequest {
  /** What the provider's kind understands: the url of a repository, or the absolute path of a folder on this machine. */
  readonly source: string;
  /** A full revision id or a name that the provider resolves, such as a branch. Absent means the source's present one. */
  readonly revision?: string;
  /** True brings what the source includes by reference (git submodules) as well; default false. */
  readonly submodules?: boolean;
  /** An absolute path that does not exist, or an empty folder. */
  readonly destination: string;
}

/** A working copy: the caller's own until it disposes of it, whatever happens to caches and other copies. */
export interface WorkspaceCopy extends AsyncDisposable {
  /** The destination that was asked for. */
  readonly dir: string;
  /** The full id of what is in it: the same id asked for again gives the same files. */
  readonly revision: string;
  /** Removes the folder with everything that was made in it. Idempotent; also reached by `await using`. */
  dispose(): Promise<void>;
}

/** Brings source onto this machine. Cases that every one must pass are in `@drover/workspaces/testing`. */
export interface WorkspaceProvider {
  /** What it understands, in one word: `git`, `snapshot`. */
  readonly kind: string;
  /**
   * Makes a working copy. On any failure, and on abort (which throws the signal's reason), nothing is left at the
   * destination. Throws a `DroverError`: `WORKSPACE_DESTINATION_INVALID`, `WORKSPACE_DESTINATION_NOT_EMPTY` from every
   * provider, an advice of `not-found` for a source or revision that does not exist, and each provider's own codes.
   */
  materialize(request: WorkspaceRequest, signal: AbortSignal): Promise<WorkspaceCopy>;
}
