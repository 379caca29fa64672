import { execFile } from 'node:child_process';
import { droverCommandLine, environment } from './drover-process.ts';

/** A command that did not end with status 0. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed';
  readonly status: number | null;

  constructor(args: readonly string[], status: number | null, output: string) {
    super(`drover ${args.join(' ')} ended with ${status ?? 'a signal'}:\n${output}`);
    this.status = status;
  }
}

/** Runs one `drover` command to its end, as an operator does, and answers its standard output. Throws {@link CommandFailed}. */
export type RunDrover = (...args: readonly string[]) => Promise<string>;

/** A {@link RunDrover} with a working folder and variables. */
export function createRunDrover(cwd: string, env: Readonly<Record<string, string>>): RunDrover {
  const [node = '', ...before] = droverCommandLine;
  return (...args) =>
    new Promise((resolve, reject) => {
      execFile(
        node,
        [...before, ...args],
        { cwd, env: environment(env), maxBuffer: 64 * 1024 * 1024 },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new CommandFailed(args, typeof error.code === 'number' ? error.code : null, stdout + stderr));
        },
      );
    });
}
