import { DroverError } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import type { WorkspaceDraft, WorkspaceRecord } from './workspace-store.ts';

/** Bounds of the workspaces of a fleet. */
export const workspaceLimits = {
  workspacesMax: 256,
  /** Workspaces of one agent: they travel in one lease. */
  perAgentMax: 32,
  nameLengthMax: 64,
  sourceLengthMax: 2_048,
  revisionLengthMax: 255,
  folderLengthMax: 255,
  folderDepthMax: 16,
  poolsMax: 64,
  sparseMax: 64,
  /** Characters of all patterns of one workspace. */
  sparseLengthMax: 4_096,
  depthMax: 1_000_000,
} as const;

/** Two names are the same workspace if their keys are. */
export function workspaceKey(name: string): string {
  return name.toLowerCase();
}

/**
 * Checks what a server can tell about a workspace; the agent's provider checks it again for itself. Throws
 * `WORKSPACE_INVALID` (`fix-input`).
 */
export function checkWorkspaceDraft(draft: WorkspaceDraft): void {
  const { name, pools, provider, source, revision, folder, sparse, depth } = draft;
  const limits = workspaceLimits;
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name) || name.length > limits.nameLengthMax) {
    throw invalid('name', name, `1 to ${limits.nameLengthMax} letters, digits, ".", "_" and "-", not "." or "-" first`);
  }
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(provider)) throw invalid('provider', provider, 'one word in lower case, e.g. git');
  // What a program could take for an option, for another program, or for two lines.
  if (
    hasControl(source) ||
    source === '' ||
    source.length > limits.sourceLengthMax ||
    /^-|^[a-z0-9+.-]*::/i.test(source)
  ) {
    throw invalid(
      'source',
      source,
      `a url or path of at most ${limits.sourceLengthMax} characters; no option, no helper::`,
    );
  }
  if (hasSecret(source)) {
    // Not in the message. Whoever may list workspaces would read it.
    throw invalid(
      'source',
      'it has a user name or password',
      'a url without one: give agents a credential helper or a key instead',
      true,
    );
  }
  if (hasControl(revision) || revision.startsWith('-') || revision.length > limits.revisionLengthMax) {
    throw invalid(
      'revision',
      revision,
      `a branch, tag, ref or full id of at most ${limits.revisionLengthMax} characters`,
    );
  }
  const names = folder.split('/');
  const isName = (part: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(part) && !part.endsWith('.');
  if (folder.length > limits.folderLengthMax || names.length > limits.folderDepthMax || !names.every(isName)) {
    throw invalid('folder', folder, 'a path below the root of workspaces such as engine/main, without ".."');
  }
  if (pools.length > limits.poolsMax) throw invalid('pools', `${pools.length} names`, `at most ${limits.poolsMax}`);
  for (const pool of pools) {
    if (pool.trim() === '' || pool.length > 256 || hasControl(pool)) throw invalid('pools', pool, 'names of pools');
  }
  if (sparse.length > limits.sparseMax || sparse.join('').length > limits.sparseLengthMax) {
    const allowed = `at most ${limits.sparseMax} patterns of ${limits.sparseLengthMax} characters together`;
    throw invalid('sparse', `${sparse.length} patterns`, allowed);
  }
  for (const pattern of sparse) {
    if (pattern === '' || hasControl(pattern)) throw invalid('sparse', pattern, 'patterns as in .gitignore');
  }
  if (!Number.isInteger(depth) || depth < 0 || depth > limits.depthMax) {
    throw invalid('depth', String(depth), `0 to ${limits.depthMax}`);
  }
}

/** Throws `WORKSPACE_FOLDER_TAKEN` (`conflict`), or `WORKSPACES_FULL` (`exhausted`), for one that cannot be beside these. */
export function checkWorkspaceBeside(draft: WorkspaceDraft, others: readonly WorkspaceDraft[]): void {
  const rest = others.filter(({ name }) => workspaceKey(name) !== workspaceKey(draft.name));
  if (rest.length >= workspaceLimits.workspacesMax) {
    throw new DroverError({
      code: 'WORKSPACES_FULL',
      advice: 'exhausted',
      message: `There are ${workspaceLimits.workspacesMax} workspaces, which is the most of a fleet.`,
    });
  }
  for (const other of rest) {
    // Also of other pools: an agent may come to be in both, and some file systems know no case.
    const [one, two] = [`${draft.folder}/`.toLowerCase(), `${other.folder}/`.toLowerCase()];
    if (!one.startsWith(two) && !two.startsWith(one)) continue;
    throw new DroverError({
      code: 'WORKSPACE_FOLDER_TAKEN',
      advice: 'conflict',
      message: `The folder ${draft.folder} is that of the workspace ${other.name} (${other.folder}), inside it or around it.`,
      details: { workspace: other.name },
    });
  }
}

/** The error for a name that no workspace has. */
export function workspaceNotFound(name: string): DroverError {
  return new DroverError({
    code: 'WORKSPACE_NOT_FOUND',
    advice: 'not-found',
    message: `There is no workspace ${JSON.stringify(name.slice(0, 100))}.`,
  });
}

/** The workspaces that an agent of these pools keeps, by name. */
export function workspacesOf<Workspace extends WorkspaceDraft>(
  workspaces: readonly Workspace[],
  pools: readonly string[],
): readonly Workspace[] {
  const keys = new Set(pools.map((pool) => pool.trim().toLowerCase()));
  return workspaces
    .filter((one) => one.pools.length === 0 || one.pools.some((pool) => keys.has(pool.trim().toLowerCase())))
    .sort((a, b) => (workspaceKey(a.name) < workspaceKey(b.name) ? -1 : 1));
}

/** What a set of workspaces comes to, in 32 hexadecimal digits: equal for sets that agents keep in the same way. */
export function workspaceSetDigest(workspaces: readonly WorkspaceDraft[]): string {
  const said = workspaces.map(({ name, provider, source, revision, folder, submodules, sparse, depth, remove }) => [
    workspaceKey(name),
    provider,
    source,
    revision,
    folder,
    submodules,
    sparse,
    depth,
    remove,
  ]);
  return createHash('sha256').update(JSON.stringify(said)).digest('hex').slice(0, 32);
}

/** A workspace as the audit shows it. */
export function auditedWorkspace(draft: WorkspaceDraft | undefined): Readonly<Record<string, unknown>> | undefined {
  if (draft === undefined) return undefined;
  const { name: _, ...rest } = draft;
  const { changedBy: _by, changedAtMs: _at, ...said } = rest as Partial<WorkspaceRecord>;
  return said;
}

function invalid(where: string, problem: string, allowed: string, isTold = false): DroverError {
  return new DroverError({
    code: 'WORKSPACE_INVALID',
    advice: 'fix-input',
    message: `${where}: ${isTold ? problem : JSON.stringify(problem.slice(0, 100))}; allowed: ${allowed}.`,
    details: { where },
  });
}

/** The user name of ssh is part of the address; that of http may be a token. */
function hasSecret(source: string): boolean {
  if (!URL.canParse(source)) return false;
  const { protocol, username, password } = new URL(source);
  return password !== '' || (username !== '' && protocol !== 'ssh:');
}

function hasControl(text: string): boolean {
  return [...text].some((char) => char < ' ' || char === '\x7f');
}
