import { delay, type Clock } from '@drover/lease-kit';
import type { ProcessCgroup } from './process-cgroup.ts';
import { readMarkers } from './process-marker.ts';
import { readProcessRow, readProcessTable, type ProcessIdentity, type ProcessTable } from './process-table.ts';

/** All the processes that came from one start, however far they went. */
export interface ProcessTree {
  /** The processes of the tree that live now, the first one included. `deep` also reads every environment and the cgroup. */
  alive(depth: 'shallow' | 'deep', table?: ProcessTable): readonly ProcessIdentity[];
  /** Every process that was ever seen in the tree. */
  seen(): readonly ProcessIdentity[];
  /** Sends a signal to all that live now, and gives how many processes it saw. */
  signal(signal: NodeJS.Signals): number;
}

/** By what a tree is recognized. */
export interface ProcessTreeOptions {
  /** The first process; absent when an agent died before it could write it down. */
  readonly root?: ProcessIdentity;
  readonly marker: string;
  readonly cgroup?: ProcessCgroup;
  /** True while the process group number surely belongs to the tree; false for what an earlier agent left. */
  readonly trustGroup: boolean;
}

/**
 * The tree as Linux's `/proc` shows it. A process belongs to it when it is the first one, was seen in it before,
 * descends from a member, is in the group or session of the first one, carries the marker in its environment, or is in
 * the cgroup. What escapes without a cgroup: a process that leaves the group, drops the environment *and* loses its
 * parent, all between two looks.
 */
export function createProcTree(options: ProcessTreeOptions): ProcessTree {
  const { root, marker, cgroup } = options;
  const members = new Map<number, ProcessIdentity>();
  if (root !== undefined) members.set(root.pid, root);
  const everSeen = new Map<string, ProcessIdentity>();

  function alive(depth: 'shallow' | 'deep', table = readProcessTable()): readonly ProcessIdentity[] {
    for (const [pid, member] of members) if (table.get(pid)?.startTime !== member.startTime) members.delete(pid);
    const groupIsOurs =
      root !== undefined &&
      (table.get(root.pid)?.startTime === root.startTime || (options.trustGroup && !table.has(root.pid)));
    const inCgroup = new Set(depth === 'deep' ? cgroup?.pids() : []);
    for (const row of table.values()) {
      if (members.has(row.pid) || row.pid === process.pid || row.pid === 1) continue;
      if (root !== undefined && row.startTime < root.startTime) continue;
      const inGroup = groupIsOurs && (row.processGroup === root.pid || row.session === root.pid);
      if (inGroup || inCgroup.has(row.pid) || (depth === 'deep' && readMarkers(row.pid).includes(marker))) {
        members.set(row.pid, { pid: row.pid, startTime: row.startTime });
      }
    }
    addDescendants(members, table);
    for (const member of members.values()) everSeen.set(`${member.pid} ${member.startTime}`, member);
    return [...members.values()];
  }

  return {
    alive,
    seen: () => [...everSeen.values()],
    signal(signal) {
      const found = alive('deep');
      if (signal === 'SIGKILL') cgroup?.kill();
      // One call for the whole group, so that nothing slips away by forking between two calls. Its number cannot have
      // become another's while a member is in it.
      const group = found.some((member) => root !== undefined && isInGroup(member, root.pid)) ? root?.pid : undefined;
      if (group !== undefined) sendSignal(-group, signal);
      for (const member of found) {
        // Looked at once more right before the signal: the pid of one that ended meanwhile may be another's already.
        const row = readProcessRow(member.pid);
        if (row?.startTime === member.startTime && row.processGroup !== group) sendSignal(member.pid, signal);
      }
      return found.length;
    },
  };
}

function isInGroup(member: ProcessIdentity, group: number): boolean {
  const row = readProcessRow(member.pid);
  return row?.startTime === member.startTime && row.processGroup === group;
}

function addDescendants(members: Map<number, ProcessIdentity>, table: ProcessTable): void {
  for (let grew = true; grew;) {
    grew = false;
    for (const row of table.values()) {
      const parent = members.get(row.parentPid);
      if (parent === undefined || members.has(row.pid) || row.startTime < parent.startTime) continue;
      members.set(row.pid, { pid: row.pid, startTime: row.startTime });
      grew = true;
    }
  }
}

/** The tree where there is no `/proc`: the process group alone. What leaves the group is not found. */
export function createGroupTree(groupPid: number): ProcessTree {
  const group = { pid: groupPid, startTime: 0 };
  return {
    alive: () => (sendSignal(-groupPid, 0) ? [group] : []),
    seen: () => [group],
    signal: (signal) => (sendSignal(-groupPid, signal) ? 1 : 0),
  };
}

/** True when the signal was sent; false when nobody is there. One that may not be signalled counts as there. */
function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** How {@link endProcessTree} goes about it. */
export interface EndTreeOptions {
  /** From SIGTERM to SIGKILL; 0 sends SIGKILL at once. */
  readonly graceMs: number;
  /** How long to go on after the first SIGKILL before giving up. */
  readonly killWaitMs: number;
  readonly clock: Clock;
  /** Abort ends the waiting, by throwing its reason; the tree keeps what it was sent. */
  readonly signal?: AbortSignal;
}

/**
 * Ends a tree: SIGTERM (and SIGCONT, for what is stopped) to every member, SIGKILL to what is left after the grace
 * period, again and again until a look at the whole machine finds no member. Gives false when members withstood that.
 */
export async function endProcessTree(tree: ProcessTree, options: EndTreeOptions): Promise<boolean> {
  const { clock, graceMs, killWaitMs, signal } = options;
  const startMs = clock.monotonicMs();
  if (graceMs > 0) {
    if (tree.signal('SIGTERM') === 0) return true;
    tree.signal('SIGCONT');
    if (await waitUntilGone(tree, clock, startMs + graceMs, signal)) return true;
  }
  const killMs = clock.monotonicMs();
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    if (tree.signal('SIGKILL') === 0) return true;
    if (clock.monotonicMs() - killMs >= killWaitMs) return false;
    await pause(clock, pauseMs, signal);
  }
}

async function waitUntilGone(tree: ProcessTree, clock: Clock, untilMs: number, signal?: AbortSignal): Promise<boolean> {
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 100)) {
    // A shallow look is cheap; only when it finds nobody does the deep one have to agree.
    if (tree.alive('shallow').length === 0 && tree.alive('deep').length === 0) return true;
    const leftMs = untilMs - clock.monotonicMs();
    if (leftMs <= 0) return false;
    await pause(clock, Math.min(pauseMs, leftMs), signal);
  }
}

/** Waits; rejects with the signal's reason on abort. */
async function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  await delay(clock, delayMs, signal);
  signal?.throwIfAborted();
}
