import { DroverError } from '@drover/lease-kit';
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A program of ours that runs as a child, with its lines in a file. */
export interface DroverChild {
  readonly name: string;
  readonly logFile: string;
  /** Resolves when it ended, with how. */
  readonly ended: Promise<string>;
  /** The first message of a type; rejects if the child ends before it. */
  message<Message>(type: string): Promise<Message>;
  /** SIGTERM, once more after `graceMs`, SIGKILL after as long again. Resolves when it ended. */
  stop(graceMs: number): Promise<void>;
}

const entry = join(import.meta.dirname, `../main${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`);
const tailLines = 8;

/**
 * Starts `drover <args>` as a child in a process group of its own, so that a Ctrl-C in the terminal reaches it only through
 * us. It ends itself when we are gone.
 */
export function startChild(name: string, args: readonly string[], logFile: string): DroverChild {
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, 'a');
  const child = spawn(process.execPath, [...process.execArgv, entry, ...args], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
  });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  return {
    name,
    logFile,
    ended,
    message: (type) => messageOf(child, type, ended, name, logFile),
    async stop(graceMs) {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const timers = [
        setTimeout(() => child.kill('SIGTERM'), graceMs),
        setTimeout(() => child.kill('SIGKILL'), 2 * graceMs),
      ];
      child.kill('SIGTERM');
      await ended;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

function messageOf<Message>(
  child: ChildProcess,
  type: string,
  ended: Promise<string>,
  name: string,
  logFile: string,
): Promise<Message> {
  return new Promise((resolve, reject) => {
    child.on('message', (message: { readonly type?: string }) => {
      if (message.type === type) resolve(message as Message);
    });
    void ended.then((how) =>
      reject(
        new DroverError({
          code: 'CHILD_ENDED',
          advice: 'unavailable',
          message: `the ${name} ended before it was ready (${how}); the end of ${logFile}:\n${tailOf(logFile)}`,
        }),
      ),
    );
  });
}

function tailOf(file: string): string {
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  return lines
    .slice(-tailLines)
    .map((line) => `  ${line}`)
    .join('\n');
}
