import { readdirSync, readFileSync } from 'node:fs';

/** Processes of a machine as its jailer has started them: those that were told its id. */
export function processesOf(id: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => {
      const words = commandOf(name);
      return words.some((word, index) => word === id && words[index - 1] === '--id');
    })
    .map(Number);
}

function commandOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    // It has ended.
    return [];
  }
}
