import { DroverError } from '@drover/lease-kit';
import { spawn } from 'node:child_process';

/** One call of git. */
export interface RunGitOptions {
  readonly gitPath: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Abort ends git with its helpers, then throws the signal's reason. */
  readonly signal: AbortSignal;
  /** How long it may take; then `GIT_TIMED_OUT` is thrown. */
  readonly timeoutMs: number;
  /** Given every byte of standard output, also those that are not kept. */
  readonly onStdout?: (bytes: Buffer) => void;
  /** Given every byte of standard error, also those that are not kept. */
  readonly onStderr?: (bytes: Buffer) => void;
}

/** How git ended. */
export interface GitOutput {
  readonly exitCode: number;
  /** The first 64 KiB of standard output. */
  readonly stdout: string;
  /** The last 16 KiB of standard error. */
  readonly stderr: string;
}

const stdoutBytesMax = 64 * 1024;
const stderrBytesMax = 16 * 1024;
const graceMs = 2000;

/**
 * Runs git without a shell, in a process group of its own, so that ssh and the like end with it. Any exit code is
 * returned. Throws `GIT_MISSING` (`unavailable`), `GIT_TIMED_OUT` (`unavailable`), or the signal's reason on abort; git
 * has ended by then.
 */
export async function runGit({ gitPath, args, env, signal, timeoutMs, ...watch }: RunGitOptions): Promise<GitOutput> {
  signal.throwIfAborted();
  const child = spawn(gitPath, [...args], { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true, shell: false });
  let stdout = Buffer.alloc(0);
  let stderr = Buffer.alloc(0);
  child.stdout.on('data', (bytes: Buffer) => {
    watch.onStdout?.(bytes);
    // Read to the end, so that git never waits for us, and kept up to the bound.
    if (stdout.length < stdoutBytesMax) stdout = Buffer.concat([stdout, bytes]).subarray(0, stdoutBytesMax);
  });
  child.stderr.on('data', (bytes: Buffer) => {
    watch.onStderr?.(bytes);
    stderr = Buffer.concat([stderr, bytes]).subarray(-stderrBytesMax);
  });

  let timedOut = false;
  let force: NodeJS.Timeout | undefined;
  const end = () => {
    killGroup(child.pid, 'SIGTERM');
    force ??= setTimeout(() => killGroup(child.pid, 'SIGKILL'), graceMs);
  };
  const timeout = setTimeout(() => {
    timedOut = true;
    end();
  }, timeoutMs);
  signal.addEventListener('abort', end, { once: true });
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, by) => {
        // Else nobody could tell why it failed: it had no time to say anything.
        if (code === null) stderr = Buffer.concat([stderr, Buffer.from(`git was ended by ${by}`)]);
        resolve(code ?? 128);
      });
    });
    signal.throwIfAborted();
    if (timedOut) {
      throw new DroverError({
        code: 'GIT_TIMED_OUT',
        advice: 'unavailable',
        message: `git ${args.find((arg) => /^[a-z]/.test(arg)) ?? ''} took longer than ${timeoutMs} ms`,
      });
    }
    return { exitCode, stdout: stdout.toString('utf8'), stderr: stderr.toString('utf8') };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall?.startsWith('spawn') !== true) throw error;
    throw new DroverError({
      code: 'GIT_MISSING',
      advice: 'unavailable',
      message: `git cannot be run as ${gitPath} on this machine (${(error as NodeJS.ErrnoException).code})`,
      cause: error,
    });
  } finally {
    clearTimeout(timeout);
    clearTimeout(force);
    signal.removeEventListener('abort', end);
  }
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended by itself.
  }
}

const keptVariables =
  /^GIT_(?:SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_.*|HTTP_.*|PROXY_.*|EXEC_PATH|CONFIG_GLOBAL|CONFIG_SYSTEM|CONFIG_NOSYSTEM)$/;

/**
 * The environment of every call: this process's, without what would point git at another repository, with messages in
 * English (they are read), and without any question to a terminal.
 */
export function gitEnvironment(
  from: NodeJS.ProcessEnv,
  more: Readonly<Record<string, string>>,
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(from)) {
    if (value !== undefined && (!name.startsWith('GIT_') || keptVariables.test(name))) env[name] = value;
  }
  if (env['GIT_SSH'] === undefined) env['GIT_SSH_COMMAND'] ??= 'ssh -oBatchMode=yes';
  return { ...env, LC_ALL: 'C', LANGUAGE: 'C', GIT_TERMINAL_PROMPT: '0', GCM_INTERACTIVE: 'never', ...more };
}
