import { execFileSync } from 'node:child_process';
import { readFileSync, readlinkSync } from 'node:fs';

/** A running process, told apart from a later one that was given the same pid. */
export interface ProcessFacts {
  /** Equal for the same process only: its start time, on Linux with the boot it belongs to. */
  readonly identity: string;
  /** Seconds since the Unix epoch, exact to about two seconds. */
  readonly startedAtS: number;
  /** Arguments joined by a blank; empty when the system does not tell. */
  readonly command: string;
  /** Its working directory; absent when the system does not tell. */
  readonly cwd: string | undefined;
}

/** What is known of the process `pid`; absent when it does not run (any more), a zombie included. */
export function processFacts(pid: number): ProcessFacts | undefined {
  return process.platform === 'linux' ? linuxFacts(pid) : psFacts(pid);
}

// USER_HZ is 100 on every Linux that Node supports; the kernel scales /proc to it.
const ticksPerSecond = 100;

function linuxFacts(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name may hold blanks and parentheses, so count from the last one.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    const startTicks = Number(fields[19]);
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const bootTimeS = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1]);
    return {
      identity: `${bootId}:${startTicks}`,
      startedAtS: bootTimeS + startTicks / ticksPerSecond,
      command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim(),
      cwd: linkTarget(`/proc/${pid}/cwd`),
    };
  } catch {
    return undefined; // gone, or going while we read
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // another user's process
  }
}

function psFacts(pid: number): ProcessFacts | undefined {
  try {
    const line = execFileSync('ps', ['-ww', '-o', 'stat=,lstart=,command=', '-p', String(pid)], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    const parts = /^(\S+)\s+(\w+ \w+\s+\d+ [\d:]+ \d+)\s+(.*)$/s.exec(line);
    if (parts === null || parts[1]!.startsWith('Z')) return undefined;
    const startedAtS = Date.parse(parts[2]!) / 1000;
    return { identity: `ps:${startedAtS}`, startedAtS, command: parts[3]!, cwd: undefined };
  } catch {
    return undefined; // ps ends with status 1 when there is no such process
  }
}
