import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** A cgroup v2 folder in which this process may make groups for its children, and what such a group can do. */
export interface CgroupParent {
  readonly dir: string;
  /** `cgroup.kill` is there (Linux 5.14): one write ends every process of the group, and none can escape by forking. */
  readonly kill: boolean;
  /** `memory.max` and `memory.events` are there: the kernel enforces the memory limit and says so. */
  readonly memory: boolean;
}

/** One cgroup v2 group (Documentation/admin-guide/cgroup-v2.rst) that holds one process tree. */
export interface ProcessCgroup {
  readonly dir: string;
  /** True when the kernel enforces the memory limit that was asked for. */
  readonly limitsMemory: boolean;
  /** Moves a process in; its later children are born in it. Throws when the process is gone or may not be moved. */
  add(pid: number): void;
  /** The processes in the group and in groups that they made below it. */
  pids(): number[];
  /** Ends all of them at once; false where the kernel has no `cgroup.kill`. */
  kill(): boolean;
  /** How many processes of the group the kernel ended for want of memory. */
  oomKills(): number;
  /** Removes the empty group; false while something is still in it. */
  remove(): boolean;
}

/**
 * Looks for a cgroup v2 folder to make groups in, and tries it by making one. `wanted` is an absolute folder, `auto`
 * for the parent of this process's own group when that hands out the memory controller (the layout of systemd's
 * `DelegateSubgroup=`) or else the own group, `none` for no cgroups. Undefined when none can be used.
 */
export function detectCgroupParent(wanted: string): CgroupParent | undefined {
  if (wanted === 'none') return undefined;
  const candidates = wanted === 'auto' ? ownCandidates() : [wanted];
  for (const dir of candidates) {
    const found = tryParent(dir);
    if (found !== undefined) return found;
  }
  return undefined;
}

function tryParent(dir: string): CgroupParent | undefined {
  const probe = join(dir, `drover-probe-${process.pid}`);
  try {
    accessSync(join(dir, 'cgroup.procs'), constants.W_OK);
    mkdirSync(probe);
  } catch {
    return undefined;
  }
  try {
    if (!existsSync(join(probe, 'cgroup.procs'))) return undefined;
    const has = (file: string) => existsSync(join(probe, file));
    return { dir, kill: has('cgroup.kill'), memory: has('memory.max') && has('memory.events') };
  } finally {
    rmdirSync(probe);
  }
}

function ownCandidates(): string[] {
  try {
    const own = /^0::(\/.*)$/m.exec(readFileSync('/proc/self/cgroup', 'latin1'))?.[1];
    const mount = readFileSync('/proc/self/mountinfo', 'latin1')
      .split('\n')
      .find((line) => line.includes(' - cgroup2 '))
      ?.split(' ');
    if (own === undefined || mount?.[3] === undefined || mount[4] === undefined) return [];
    const [root, point] = [mount[3], mount[4]];
    if (root !== '/' && own !== root && !own.startsWith(`${root}/`)) return [];
    const dir = resolve(join(point, root === '/' ? own : own.slice(root.length)));
    const above = dirname(dir);
    return own !== '/' && above.startsWith(point) && handsOutMemory(above) ? [above, dir] : [dir];
  } catch {
    return [];
  }
}

function handsOutMemory(dir: string): boolean {
  try {
    return readFileSync(join(dir, 'cgroup.subtree_control'), 'latin1').split(/\s+/).includes('memory');
  } catch {
    return false;
  }
}

/**
 * Makes a group below `parent`, with a memory limit where the parent can and `memoryBytesMax` is given: no swap, and
 * the whole group dies together. Throws the file system's error when it may not.
 */
export function createProcessCgroup(parent: CgroupParent, name: string, memoryBytesMax?: number): ProcessCgroup {
  const dir = join(parent.dir, name);
  mkdirSync(dir);
  let limitsMemory = false;
  if (memoryBytesMax !== undefined && parent.memory) {
    writeFileSync(join(dir, 'memory.max'), String(memoryBytesMax));
    for (const [file, value] of [['memory.oom.group', '1'] as const, ['memory.swap.max', '0'] as const]) {
      if (existsSync(join(dir, file))) writeFileSync(join(dir, file), value);
    }
    limitsMemory = true;
  }
  return openProcessCgroup(dir, limitsMemory);
}

/** The group in a folder that exists, such as one that an earlier run of the agent left. */
export function openProcessCgroup(dir: string, limitsMemory = false): ProcessCgroup {
  return {
    dir,
    limitsMemory,
    add: (pid) => writeFileSync(join(dir, 'cgroup.procs'), String(pid)),
    pids: () => foldersOf(dir).flatMap(readPids),
    kill() {
      try {
        writeFileSync(join(dir, 'cgroup.kill'), '1', { flag: 'r+' });
        return true;
      } catch {
        return false;
      }
    },
    oomKills: () => readOomKills(join(dir, 'memory.events')),
    remove() {
      for (const folder of foldersOf(dir).reverse()) {
        try {
          rmdirSync(folder);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
        }
      }
      return true;
    },
  };
}

/** The `oom_kill` line of a `memory.events` file; 0 when there is no such file. */
export function readOomKills(path: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(path, 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function readPids(dir: string): number[] {
  try {
    const lines = readFileSync(join(dir, 'cgroup.procs'), 'latin1').split('\n');
    return lines.map(Number).filter((pid) => pid > 0);
  } catch {
    return [];
  }
}

/** The folder and all below it, parents first; none when it is gone. */
function foldersOf(dir: string): string[] {
  try {
    const below = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [dir, ...below.flatMap((entry) => foldersOf(join(dir, entry.name)))];
  } catch {
    return [];
  }
}
