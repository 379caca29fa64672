import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Bounds of one sandbox. */
export interface CgroupBounds {
  readonly memoryBytes: number;
  readonly processesMax: number;
  /** Processors' worth of time. */
  readonly vcpus: number;
}

/** What a group counts. */
export interface CgroupFigures {
  readonly cpuMs: number | undefined;
  readonly memoryBytes: number | undefined;
  readonly memoryPeakBytes: number | undefined;
  readonly processes: number | undefined;
}

/** The control group of one sandbox, in whichever version the machine has. */
export interface SandboxCgroup {
  /** Files into which a process writes its id to be in it. */
  readonly entries: readonly string[];
  /** How many processes the kernel ended for want of memory. */
  oomKills(): number;
  figures(): CgroupFigures;
  pids(): number[];
  /** Kills what is in it and removes it; false while something is left. */
  remove(): boolean;
}

/** Where groups are made. */
export interface CgroupRoot {
  readonly version: 'v1' | 'v2';
  make(name: string, bounds: CgroupBounds): SandboxCgroup;
  /** A group that another program makes, or has made; what it tells before is nothing. */
  at(name: string): SandboxCgroup;
  /** What {@link make} writes, as names of files and their content, in order: for a program that makes the group itself. */
  settings(bounds: CgroupBounds): readonly (readonly [file: string, content: string])[];
  /** The group that all are made in, below where each hierarchy is mounted. Undefined where it was told as a path. */
  readonly parent: string | undefined;
  /** Groups of the given prefix that are there. */
  open(prefix: string): readonly (SandboxCgroup & { readonly name: string })[];
}

const v1Controllers = ['memory', 'pids', 'cpu', 'cpuacct'] as const;
const periodUs = 100_000;
const parentName = 'drover';

/**
 * Finds where this process may make groups that bound memory and processes: version 2 if its controllers are there, else
 * version 1. Undefined: nowhere. `parent`: a folder of version 2; absent: `drover` below the mounted roots.
 */
export function findCgroupRoot(mounts = '/sys/fs/cgroup', parent?: string): CgroupRoot | undefined {
  const v2 = parent ?? join(mounts, parentName);
  if (parent !== undefined || existsSync(join(mounts, 'cgroup.controllers'))) {
    const root = tryV2(mounts, v2, parent === undefined ? parentName : undefined);
    if (root !== undefined) return root;
  }
  return tryV1(mounts);
}

function tryV2(mounts: string, dir: string, parent: string | undefined): CgroupRoot | undefined {
  let files: ReadonlySet<string>;
  try {
    mkdirSync(dir, { recursive: true });
    for (const folder of [mounts, dir]) {
      try {
        writeFileSync(join(folder, 'cgroup.subtree_control'), '+memory +pids +cpu');
      } catch {
        // It may be so already, or not ours to say; what counts is what groups have.
      }
    }
    const probe = join(dir, `probe-${process.pid}`);
    mkdirSync(probe);
    files = new Set(readdirSync(probe));
    rmdirSync(probe);
    if (!['memory.max', 'pids.max', 'cgroup.procs'].every((file) => files.has(file))) return undefined;
  } catch {
    return undefined;
  }
  const open = (name: string): SandboxCgroup => new CgroupV2(join(dir, name));
  const settings: CgroupRoot['settings'] = ({ memoryBytes, processesMax, vcpus }) =>
    (
      [
        ['memory.max', String(memoryBytes)],
        ['memory.swap.max', '0'],
        ['pids.max', String(processesMax)],
        ['cpu.max', `${vcpus * periodUs} ${periodUs}`],
      ] as const
    ).filter(([file]) => files.has(file));
  return {
    version: 'v2',
    parent,
    make(name, bounds) {
      mkdirSync(join(dir, name));
      for (const [file, content] of settings(bounds)) {
        const path = join(dir, name, file);
        if (file === 'memory.max' || file === 'pids.max') writeFileSync(path, content);
        else writeIfThere(path, content);
      }
      return open(name);
    },
    at: open,
    settings,
    open: (prefix) => named(dir, prefix).map((name) => withName(open(name), name)),
  };
}

function tryV1(mounts: string): CgroupRoot | undefined {
  const dirs = v1Controllers.filter((name) => existsSync(join(mounts, name, 'cgroup.procs')));
  if (!dirs.includes('memory') || !dirs.includes('pids')) return undefined;
  const dirOf = (controller: string, name: string): string => join(mounts, controller, parentName, name);
  const files = new Set<string>();
  try {
    for (const controller of dirs) {
      mkdirSync(dirOf(controller, `probe-${process.pid}`), { recursive: true });
      for (const file of readdirSync(dirOf(controller, `probe-${process.pid}`))) files.add(file);
    }
    for (const controller of dirs) rmdirSync(dirOf(controller, `probe-${process.pid}`));
  } catch {
    return undefined;
  }
  const open = (name: string): SandboxCgroup =>
    new CgroupV1(new Map(dirs.map((controller) => [controller, dirOf(controller, name)])));
  const settings: CgroupRoot['settings'] = ({ memoryBytes, processesMax, vcpus }) =>
    (
      [
        ['memory.limit_in_bytes', String(memoryBytes)],
        ['memory.memsw.limit_in_bytes', String(memoryBytes)],
        ['pids.max', String(processesMax)],
        ['cpu.cfs_period_us', String(periodUs)],
        ['cpu.cfs_quota_us', String(vcpus * periodUs)],
      ] as const
    ).filter(([file]) => files.has(file));
  return {
    version: 'v1',
    parent: parentName,
    make(name, bounds) {
      for (const controller of dirs) mkdirSync(dirOf(controller, name));
      for (const [file, content] of settings(bounds)) {
        const path = join(dirOf(file.slice(0, file.indexOf('.')), name), file);
        // The bounds that count are those of memory and processes.
        if (file === 'memory.limit_in_bytes' || file === 'pids.max') writeFileSync(path, content);
        else writeIfThere(path, content);
      }
      return open(name);
    },
    at: open,
    settings,
    open: (prefix) => named(join(mounts, 'memory', parentName), prefix).map((name) => withName(open(name), name)),
  };
}

class CgroupV2 implements SandboxCgroup {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  get entries(): readonly string[] {
    return [join(this.#dir, 'cgroup.procs')];
  }

  oomKills(): number {
    return countIn(join(this.#dir, 'memory.events'), /^oom_kill (\d+)$/m);
  }

  figures(): CgroupFigures {
    const cpuUs = numberOf(read(join(this.#dir, 'cpu.stat')), /^usage_usec (\d+)$/m);
    return {
      cpuMs: cpuUs === undefined ? undefined : cpuUs / 1_000,
      memoryBytes: numberOf(read(join(this.#dir, 'memory.current'))),
      memoryPeakBytes: numberOf(read(join(this.#dir, 'memory.peak'))),
      processes: numberOf(read(join(this.#dir, 'pids.current'))),
    };
  }

  pids(): number[] {
    return pidsIn(join(this.#dir, 'cgroup.procs'));
  }

  remove(): boolean {
    if (!existsSync(this.#dir)) return true;
    if (!writeIfThere(join(this.#dir, 'cgroup.kill'), '1')) killAll(this.pids());
    return removeDir(this.#dir);
  }
}

class CgroupV1 implements SandboxCgroup {
  readonly #dirs: ReadonlyMap<string, string>;

  constructor(dirs: ReadonlyMap<string, string>) {
    this.#dirs = dirs;
  }

  get entries(): readonly string[] {
    return [...this.#dirs.values()].map((dir) => join(dir, 'cgroup.procs'));
  }

  oomKills(): number {
    return countIn(join(this.#dirs.get('memory')!, 'memory.oom_control'), /^oom_kill (\d+)$/m);
  }

  figures(): CgroupFigures {
    const memory = this.#dirs.get('memory')!;
    const cpuNs = this.#dirs.has('cpuacct')
      ? numberOf(read(join(this.#dirs.get('cpuacct')!, 'cpuacct.usage')))
      : undefined;
    return {
      cpuMs: cpuNs === undefined ? undefined : cpuNs / 1e6,
      memoryBytes: numberOf(read(join(memory, 'memory.usage_in_bytes'))),
      memoryPeakBytes: numberOf(read(join(memory, 'memory.max_usage_in_bytes'))),
      processes: numberOf(read(join(this.#dirs.get('pids')!, 'pids.current'))),
    };
  }

  pids(): number[] {
    return pidsIn(join(this.#dirs.get('pids')!, 'cgroup.procs'));
  }

  remove(): boolean {
    killAll(this.pids());
    return [...this.#dirs.values()].map(removeDir).every(Boolean);
  }
}

function withName(group: SandboxCgroup, name: string): SandboxCgroup & { readonly name: string } {
  return Object.assign(group, { name });
}

function named(dir: string, prefix: string): string[] {
  try {
    return readdirSync(dir).filter((name) => name.startsWith(prefix));
  } catch {
    return [];
  }
}

function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
}

function removeDir(dir: string): boolean {
  try {
    rmdirSync(dir);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
  return true;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function numberOf(text: string | undefined, pattern = /^(\d+)/): number | undefined {
  const found = text === undefined ? undefined : pattern.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

function countIn(path: string, pattern: RegExp): number {
  return numberOf(read(path), pattern) ?? 0;
}

function pidsIn(path: string): number[] {
  return (read(path) ?? '').split('\n').filter(Boolean).map(Number);
}

function writeIfThere(path: string, text: string): boolean {
  try {
    if (!existsSync(path)) return false;
    writeFileSync(path, text);
    return true;
  } catch {
    return false;
  }
}
