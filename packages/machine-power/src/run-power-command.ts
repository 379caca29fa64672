import { spawn, type ChildProcess } from 'node:child_process';
import { open, readFile, stat } from 'node:fs/promises';
import type { Clock } from '@drover/lease-kit';

/** What a command is run with. */
export interface PowerCommandOptions {
  /** Program and arguments, without a shell. */
  readonly command: readonly string[];
  /** File that its output is added to. */
  readonly outputPath: string;
  readonly limitMs: number;
  readonly clock: Clock;
}

/** How a command ended. */
export type PowerCommandEnd =
  { readonly kind: 'succeeded' } | { readonly kind: 'failed'; readonly code: string; readonly message: string };

const shownBytesMax = 2_048;

/**
 * Runs a command to its end. It gets a session of its own, so that it goes on when the agent is told to end by what it does.
 * Never rejects.
 */
export async function runPowerCommand(options: PowerCommandOptions): Promise<PowerCommandEnd> {
  const { command, outputPath, limitMs, clock } = options;
  const [program = '', ...args] = command;
  const shown = command.join(' ');
  const output = await open(outputPath, 'a', 0o600);
  try {
    const from = (await stat(outputPath)).size;
    const child = spawn(program, args, {
      stdio: ['ignore', output.fd, output.fd],
      detached: true,
      windowsHide: true,
    });
    const ended = Promise.withResolvers<{ readonly what: string; readonly code: string } | undefined>();
    let isLate = false;
    const limit = clock.schedule(limitMs, () => {
      isLate = true;
      killGroup(child);
    });
    child.once('error', (error) => ended.resolve({ code: 'NOT_STARTED', what: `cannot be started: ${error.message}` }));
    child.once('exit', (code, signal) => {
      if (isLate) ended.resolve({ code: 'TIMED_OUT', what: `did not end within ${limitMs} ms` });
      else if (code === 0) ended.resolve(undefined);
      else
        ended.resolve({ code: 'FAILED', what: `ended with ${code === null ? String(signal) : `exit code ${code}`}` });
    });
    const failure = await ended.promise;
    limit.cancel();
    if (failure === undefined) return { kind: 'succeeded' };
    const said = await saidSince(outputPath, from);
    return {
      kind: 'failed',
      code: failure.code,
      message: `\`${shown}\` ${failure.what}${said === '' ? '' : `: ${said}`}`,
    };
  } finally {
    await output.close();
  }
}

/** A shell that is ended leaves what it has started; its group goes as a whole. Windows knows no groups. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || process.platform === 'win32') return void child.kill('SIGKILL');
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

async function saidSince(path: string, from: number): Promise<string> {
  const bytes = (await readFile(path).catch(() => Buffer.alloc(0))).subarray(from);
  return bytes.subarray(-shownBytesMax).toString('utf8').trim();
}
