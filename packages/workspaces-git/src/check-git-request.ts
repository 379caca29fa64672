import { DroverError } from '@drover/lease-kit';
import type { WorkspaceSyncRequest } from '@drover/workspaces';

/** Checks patterns of a sparse checkout and a depth. Throws `GIT_REQUEST_INVALID` (`fix-input`). */
export function checkGitRequest({ sparse = [], depth }: WorkspaceSyncRequest): void {
  const wrong = (problem: string, allowed: string): DroverError =>
    new DroverError({ code: 'GIT_REQUEST_INVALID', advice: 'fix-input', message: `${problem}; allowed: ${allowed}.` });
  if (sparse.length > 256) throw wrong(`sparse has ${sparse.length} patterns`, 'at most 256');
  for (const pattern of sparse) {
    if (pattern !== '' && pattern.length <= 1024 && !/[\u0000-\u001f\u007f]/.test(pattern)) continue;
    const shown = JSON.stringify(pattern.slice(0, 100));
    throw wrong(`sparse has ${shown}`, 'patterns as in .gitignore, 1 to 1024 characters on one line');
  }
  if (depth !== undefined && !(Number.isInteger(depth) && depth >= 1 && depth <= 1_000_000)) {
    throw wrong(`depth is ${depth}`, 'a whole number from 1 to 1000000');
  }
}
