import { readFileSync, readdirSync } from 'node:fs';
import { endianness } from 'node:os';

/**
 * One process of this machine, told apart from a later one with the same pid by its start time. Within one boot the
 * pair never comes back; across boots the boot id is needed too.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from boot to the start of the process: field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)). */
  readonly startTime: number;
}

/** What `/proc/<pid>/stat` says about a process. */
export interface ProcessRow extends ProcessIdentity {
  readonly parentPid: number;
  readonly processGroup: number;
  readonly session: number;
  /** One letter of proc_pid_stat(5); `Z` and `X` are dead and only wait for their parent. */
  readonly state: string;
  /** Resident set size; pages that are shared with other processes count in full. */
  readonly residentBytes: number;
}

/** The processes of this machine at one moment, by pid. Dead ones that wait for their parent are not in it. */
export type ProcessTable = ReadonlyMap<number, ProcessRow>;

/**
 * Reads one line of `/proc/<pid>/stat`. The command name may hold spaces and parentheses, so the fields are counted
 * from the last `)`. Gives undefined for a line that is not one.
 */
export function parseProcStat(line: string, pageSizeBytes: number): ProcessRow | undefined {
  const close = line.lastIndexOf(')');
  if (close < 0) return undefined;
  const pid = Number.parseInt(line, 10);
  const fields = line.slice(close + 2).split(' ');
  const field = (number: number) => Number(fields[number - 3]);
  const row: ProcessRow = {
    pid,
    state: fields[0] ?? '',
    parentPid: field(4),
    processGroup: field(5),
    session: field(6),
    startTime: field(22),
    residentBytes: field(24) * pageSizeBytes,
  };
  return Number.isNaN(pid) || Number.isNaN(row.startTime) || Number.isNaN(row.residentBytes) ? undefined : row;
}

/** True for a process that has ended and only waits for its parent to ask how. */
export function isDead(row: ProcessRow): boolean {
  return row.state === 'Z' || row.state === 'X' || row.state === 'x';
}

/** Reads one process; undefined when there is none with that pid. A dead one that nobody has waited for is given. */
export function readProcessRow(pid: number): ProcessRow | undefined {
  try {
    return parseProcStat(readFileSync(`/proc/${pid}/stat`, 'latin1'), pageSizeBytes());
  } catch {
    return undefined;
  }
}

/** Reads the whole table: about 20 µs a process, synchronously, so that it is as close to one moment as it can be. */
export function readProcessTable(): ProcessTable {
  const table = new Map<number, ProcessRow>();
  for (const name of readdirSync('/proc')) {
    const first = name.charCodeAt(0);
    if (first < 48 || first > 57) continue;
    const row = readProcessRow(Number(name));
    if (row !== undefined && !isDead(row)) table.set(row.pid, row);
  }
  return table;
}

/** True while exactly this process lives: neither ended, nor its pid taken by another. */
export function isProcessAlive(identity: ProcessIdentity): boolean {
  const row = readProcessRow(identity.pid);
  return row !== undefined && row.startTime === identity.startTime && !isDead(row);
}

/** The id that the kernel drew at boot; undefined where there is no Linux `/proc`. */
export function readBootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return undefined;
  }
}

/** True where `/proc` is Linux's and shows this very process. */
export function hasProcessTable(): boolean {
  return process.platform === 'linux' && readBootId() !== undefined && readProcessRow(process.pid) !== undefined;
}

/**
 * The proportional set size of a process: its own pages, plus its share of those it shares. Undefined when the process
 * is gone or may not be read.
 */
export function readProportionalBytes(pid: number): number | undefined {
  try {
    const match = /^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'));
    return match === null ? undefined : Number(match[1]) * 1024;
  } catch {
    return undefined;
  }
}

let knownPageSize: number | undefined;

/** AT_PAGESZ (6) of the auxiliary vector: not every machine has pages of 4 KiB. */
function pageSizeBytes(): number {
  if (knownPageSize !== undefined) return knownPageSize;
  knownPageSize = 4096;
  try {
    const vector = readFileSync('/proc/self/auxv');
    const word = (at: number) =>
      Number(endianness() === 'LE' ? vector.readBigUInt64LE(at) : vector.readBigUInt64BE(at));
    for (let at = 0; at + 16 <= vector.length; at += 16) if (word(at) === 6) knownPageSize = word(at + 8);
  } catch {
    // Not Linux: nothing reads the value.
  }
  return knownPageSize;
}
