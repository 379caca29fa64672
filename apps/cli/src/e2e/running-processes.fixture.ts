import { spawnSync } from 'node:child_process';

function ps(...args: readonly string[]): string[] {
  const { stdout } = spawnSync('ps', args, { encoding: 'utf8' });
  return stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** False for a zombie too, which nobody may have waited for. */
export function isRunning(pid: number): boolean {
  const [state = 'Z'] = ps('-o', 'stat=', '-p', String(pid));
  return !state.startsWith('Z');
}

/** The processes that a process has started. */
export function childrenOf(pid: number): number[] {
  return ps('-eo', 'pid=,ppid=')
    .map((line) => line.split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid)
    .map(([child]) => child!);
}
