import type { SystemFiles } from './internal/read-text.ts';

/** What a control group allows; absent: no limit. */
export interface CgroupLimits {
  /** Cores, e.g. 1.5. */
  readonly cores?: number;
  readonly ramBytes?: number;
}

const levelsMax = 64;

/**
 * What the control groups of this process allow: the least of its group and those above it, as far as they can be seen, of
 * cgroup v2 (`cpu.max`, `memory.max`) and v1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`).
 */
export function cgroupLimits(files: SystemFiles): CgroupLimits {
  const cores: number[] = [];
  const bytes: number[] = [];
  const read = (path: string): readonly number[] | undefined =>
    files
      .read(path)
      ?.split(/\s+/)
      .map((word) => (word === 'max' ? Number.POSITIVE_INFINITY : Number(word)));
  for (const line of (files.read('/proc/self/cgroup') ?? '').split('\n')) {
    const parts = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (!parts) continue;
    const controllers = parts[1]!.split(',');
    for (const folder of foldersUp(parts[2]!)) {
      if (parts[1] === '') {
        const root = `/sys/fs/cgroup${folder}`;
        const [quota, period] = read(`${root}/cpu.max`) ?? [];
        if (quota !== undefined && period) cores.push(quota / period);
        bytes.push(...(read(`${root}/memory.max`) ?? []));
      }
      if (controllers.includes('cpu')) {
        const root = `/sys/fs/cgroup/cpu${folder}`;
        const quota = read(`${root}/cpu.cfs_quota_us`)?.[0];
        const period = read(`${root}/cpu.cfs_period_us`)?.[0];
        if (quota !== undefined && quota > 0 && period) cores.push(quota / period);
      }
      if (controllers.includes('memory')) {
        bytes.push(...(read(`/sys/fs/cgroup/memory${folder}/memory.limit_in_bytes`) ?? []));
      }
    }
  }
  const least = (values: readonly number[]): number => Math.min(...values.filter((value) => value > 0));
  const coresMax = least(cores);
  // Version 1 says "no limit" with the largest number of pages.
  const ramBytes = least(bytes);
  return {
    ...(Number.isFinite(coresMax) ? { cores: coresMax } : {}),
    ...(ramBytes < 2 ** 60 ? { ramBytes } : {}),
  };
}

/** A group and those above it, down from itself, the root as an empty text. In a container the root is the container's. */
function foldersUp(group: string): string[] {
  const parts = group.split('/').filter(Boolean).slice(0, levelsMax);
  return parts.map((_, index) => `/${parts.slice(0, parts.length - index).join('/')}`).concat('');
}
