import { isProcessAlive, type ProcessIdentity } from '@drover/process-runner';
import { readdirSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { readdir, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Every git process that works for a workspace has it in its environment, with the workspace's key. */
export const workspaceKeyVariable = 'DROVER_WORKSPACE_SYNC';

/** Names a workspace on this machine: several agents may have workspaces of one name, each below a root of its own. */
export async function workspaceKey(root: string, folderKey: string): Promise<string> {
  return createHash('sha256')
    .update(`${await realpath(root)}\0${folderKey}`)
    .digest('hex');
}

const waitMs = 10;

/**
 * Ends the processes of git that a killed sync of the workspace left, and waits until they are gone: they would write into
 * what the next sync repairs. The caller holds the workspace's lock. Linux alone has such processes found.
 */
export async function endStrayGit(key: string, signal: AbortSignal): Promise<boolean> {
  const strays = strayProcesses(key);
  for (const { pid } of strays) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  }
  while (strays.some((stray) => isProcessAlive(stray))) {
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  return strays.length > 0;
}

function strayProcesses(key: string): ProcessIdentity[] {
  const wanted = `${workspaceKeyVariable}=${key}`;
  const found: ProcessIdentity[] = [];
  for (const name of readProc()) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(wanted)) continue;
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      // Field 22 of proc_pid_stat(5); the name before the last parenthesis may hold anything.
      const startTime = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
      found.push({ pid, startTime });
    } catch {
      // It has ended, or belongs to somebody else.
    }
  }
  return found;
}

function readProc(): string[] {
  try {
    return readdirSync('/proc');
  } catch {
    return [];
  }
}

/** Operations that somebody began in a workspace; a sync ends them. */
const begun = [
  'MERGE_HEAD',
  'CHERRY_PICK_HEAD',
  'REVERT_HEAD',
  'BISECT_LOG',
  'rebase-merge',
  'rebase-apply',
  'sequencer',
];

/**
 * Removes what killed processes left in a repository: lock files, half of a pack, operations that were begun. Nobody else works
 * there while the workspace's lock is held. Says whether there was a lock.
 */
export async function removeLeftovers(gitDir: string): Promise<boolean> {
  for (const name of begun) await rm(join(gitDir, name), { recursive: true, force: true });
  let removed = false;
  const visit = async (dir: string, inObjects: boolean): Promise<void> => {
    for (const entry of await readdir(dir, { withFileTypes: true }).catch(() => [])) {
      const path = join(dir, entry.name);
      if (entry.isDirectory()) {
        // Loose objects are whole: git renames them into place. Only packs and their folder leave something.
        if (inObjects && entry.name !== 'pack') continue;
        await visit(path, inObjects || entry.name === 'objects');
      } else if (entry.name.endsWith('.lock') || (inObjects && /^(?:\.tmp-|tmp_)/.test(entry.name))) {
        await rm(path, { force: true });
        removed ||= entry.name.endsWith('.lock');
      }
    }
  };
  await visit(gitDir, false);
  return removed;
}
