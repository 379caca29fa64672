import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { workspaceRoot } from './workspace-root.ts';

/** How a command ended. */
export interface CommandResult {
  /** Exit status; absent when a signal ended it. */
  readonly status: number | undefined;
  /** Both outputs, as they came; of more than eight million characters the last ones. */
  readonly output: string;
}

const outputCharsMax = 8_000_000;

/**
 * Runs a program of node_modules/.bin, or `node`, from the workspace's root. Abort kills it and everything it started
 * that stayed in its process group. It never rejects: a program that cannot be started is a failure with that output.
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: { readonly signal: AbortSignal; readonly env?: Readonly<Record<string, string>> },
): Promise<CommandResult> {
  const bin = join(workspaceRoot, 'node_modules', '.bin');
  const child = spawn(command === 'node' ? process.execPath : join(bin, command), args, {
    cwd: workspaceRoot,
    env: {
      ...process.env,
      PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
      // No daemon may stay behind.
      NX_DAEMON: 'false',
      NX_ISOLATE_PLUGINS: 'false',
      NX_TUI: 'false',
      NX_NO_CLOUD: 'true',
      ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }),
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const killGroup = (): void => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // It never started, or nothing of it is left.
    }
  };
  options.signal.addEventListener('abort', killGroup, { once: true });
  if (options.signal.aborted) killGroup();
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output = (output + chunk).slice(-outputCharsMax);
    });
  }
  return new Promise((resolve) => {
    const finish = (status: number | undefined): void => {
      options.signal.removeEventListener('abort', killGroup);
      killGroup();
      resolve({ status, output });
    };
    child.once('error', (error) => {
      output += error.message;
      finish(undefined);
    });
    child.once('close', (status) => finish(status ?? undefined));
  });
}
