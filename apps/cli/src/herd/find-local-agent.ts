import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

/** An agent that runs on this machine, e.g. `process 4711`; undefined if there is none, or the platform does not tell. */
export async function findLocalAgent(signal?: AbortSignal): Promise<string | undefined> {
  const pid = process.platform === 'linux' ? await fromProc() : await fromPs(signal);
  return pid === undefined ? undefined : `process ${pid}`;
}

async function fromProc(): Promise<string | undefined> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    if (Number(pid) !== process.pid && isAgent(words)) return pid;
  }
  return undefined;
}

async function fromPs(signal: AbortSignal | undefined): Promise<string | undefined> {
  const options = { timeout: 5_000, maxBuffer: 8 * 1_024 * 1_024, ...(signal === undefined ? {} : { signal }) };
  const listed = await promisify(execFile)('ps', ['-axo', 'pid=,args='], options).catch(() => ({ stdout: '' }));
  const rows = listed.stdout.split('\n').map((line) => line.trim().split(/\s+/));
  return rows.find(([pid, ...words]) => Number(pid) !== process.pid && isAgent(words))?.[0];
}

/** True for the command line of an agent: `drover agent`, `drover-agent`, or its main file run by Node. */
export function isAgent(words: readonly string[]): boolean {
  const names = words.slice(0, 8).map((word) => word.replaceAll('\\', '/'));
  if (names.some((name) => /(?:^|\/)drover-agent(?:\.mjs)?$/.test(name))) return true;
  if (names.some((name) => /(?:^|\/)agent\/(?:src|dist)\/main\.[jt]s$/.test(name))) return true;
  const program = names.findIndex((name) => /(?:^|\/)(?:drover(?:\.mjs)?|cli\/(?:src|dist)\/main\.[jt]s)$/.test(name));
  // `drover agent service …` and other inner commands are over soon; what runs has options behind it, or nothing.
  const next = names[program + 2] ?? '';
  return program >= 0 && names[program + 1] === 'agent' && (next === '' || next.startsWith('-'));
}
