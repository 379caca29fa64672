import { readdirSync, readFileSync } from 'node:fs';

/** Ticks of the processors in two readings. */
interface Reading {
  /** All that was done, by everybody. */
  readonly busy: number;
  readonly total: number;
  /** What this process and those below it have done. */
  readonly own: number;
}

/** Measures how much of the machine others use. */
export interface ForeignLoad {
  /** The share of all cores, from 0 to 1, that processes which are not below this one used since the last call. */
  take(): number | undefined;
}

/** Reads `/proc`; elsewhere it tells nothing. `root` is that of the file system, but in tests. */
export function createForeignLoad(root = '', pid: number = process.pid): ForeignLoad {
  let last = read(root, pid);
  return {
    take() {
      const before = last;
      const now = read(root, pid);
      last = now;
      if (before === undefined || now === undefined || now.total <= before.total) return undefined;
      const foreign = now.busy - before.busy - Math.max(0, now.own - before.own);
      return Math.min(1, Math.max(0, foreign / (now.total - before.total)));
    },
  };
}

function read(root: string, pid: number): Reading | undefined {
  try {
    // user nice system idle iowait irq softirq steal (proc_stat(5)); guest time is in user's already.
    const ticks = /^cpu +(.*)$/m
      .exec(readFileSync(`${root}/proc/stat`, 'latin1'))![1]!
      .split(' ')
      .map(Number);
    const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softIrq = 0, steal = 0] = ticks;
    const busy = user + nice + system + irq + softIrq;
    return { busy, total: busy + idle + waiting + steal, own: ownTicks(root, pid) };
  } catch {
    return undefined;
  }
}

/** Fields 14 to 17 of proc_pid_stat(5): a process's own ticks and those of its children that have ended. */
function ownTicks(root: string, pid: number): number {
  const parents = new Map<number, { readonly parent: number; readonly ticks: number }>();
  for (const name of readdirSync(`${root}/proc`)) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const line = readFileSync(`${root}/proc/${name}/stat`, 'latin1');
      const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
      const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
      parents.set(Number(name), { parent: Number(fields[1]), ticks });
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOwn = (one: number): boolean => {
    for (let at = one, steps = 0; at > 1 && steps < 1_000; at = parents.get(at)?.parent ?? 0, steps += 1) {
      if (at === pid) return true;
    }
    return false;
  };
  let sum = 0;
  for (const [one, { ticks }] of parents) if (isOwn(one)) sum += ticks;
  return sum;
}
