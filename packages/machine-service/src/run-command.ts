import { spawn } from 'node:child_process';
import { serviceError } from './service-error.ts';

/** What a command of the machine said. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of the machine. Rejects when it cannot be started, and with the signal's reason. */
export type RunCommand = (command: readonly [string, ...string[]], signal: AbortSignal) => Promise<CommandResult>;

/** Most text that is kept of each stream. */
const outputCharsMax = 1_000_000;

/** Runs a command without a shell, with messages in plain English and times in UTC. */
export const runCommand: RunCommand = ([program, ...args], signal) =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const child = spawn(program, args, {
      env: { ...process.env, LC_ALL: 'C', TZ: 'UTC', SYSTEMD_COLORS: '0', SYSTEMD_PAGER: '' },
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
    });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] = (output[stream] + text).slice(-outputCharsMax);
      });
    }
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason as Error);
      else if (error.code === 'ENOENT') {
        reject(serviceError('SERVICE_MANAGER_MISSING', `there is no program ${program} on this machine`, error));
      } else reject(error);
    });
    child.once('close', (code) => resolve({ code: code ?? -1, ...output }));
  });

/** What a command said went wrong, in one line. */
export function commandFailure(command: readonly string[], { code, stderr, stdout }: CommandResult): string {
  const said = (stderr.trim() === '' ? stdout : stderr).trim().replace(/\s+/g, ' ').slice(0, 500);
  return `${command.join(' ')} ended with ${code}${said === '' ? '' : `: ${said}`}`;
}
