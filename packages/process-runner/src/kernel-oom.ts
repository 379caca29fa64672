import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';

/**
 * How many processes the kernel has ended for want of memory since boot, on the whole machine (`oom_kill` of
 * `/proc/vmstat`, Linux 4.13). Undefined where nothing counts them.
 */
export function readMachineOomKills(): number | undefined {
  try {
    const match = /^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'latin1'));
    return match === null ? undefined : Number(match[1]);
  } catch {
    return undefined;
  }
}

/**
 * True when a record of the kernel's log says that one of `pids` was ended for want of memory. A record reads
 * `priority,sequence,microseconds,flags;text`; those older than `sinceMicroseconds` (since boot) are not looked at,
 * since a pid comes back.
 */
export function isOomKillRecord(record: string, pids: ReadonlySet<number>, sinceMicroseconds: number): boolean {
  const match = /^\d+,\d+,(\d+),[^;]*;.*\bKilled process (\d+)\b/.exec(record);
  return match !== null && Number(match[1]) >= sinceMicroseconds && pids.has(Number(match[2]));
}

/**
 * Asks the kernel's log whether it ended one of `pids`. False also where the log may not be read, as it is for ordinary
 * users on most machines.
 */
export function kernelSaysOutOfMemory(pids: ReadonlySet<number>, sinceMicroseconds: number): boolean {
  let fd: number;
  try {
    fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    const buffer = Buffer.alloc(8192);
    // One read gives one record; the ring holds a bounded number of them, and EAGAIN stands at its end.
    for (let records = 0; records < 100_000; records++) {
      const length = readRecord(fd, buffer);
      if (length === undefined) return false;
      if (isOomKillRecord(buffer.toString('latin1', 0, length), pids, sinceMicroseconds)) return true;
    }
    return false;
  } finally {
    closeSync(fd);
  }
}

function readRecord(fd: number, buffer: Buffer): number | undefined {
  try {
    const length = readSync(fd, buffer);
    return length === 0 ? undefined : length;
  } catch (error) {
    // EPIPE: records were overwritten while we read; the next read goes on with the oldest that is left.
    return (error as NodeJS.ErrnoException).code === 'EPIPE' ? 1 : undefined;
  }
}
