import { spawn } from 'node:child_process';

/** How a program is run. */
export interface RunProgramOptions {
  readonly cwd: string;
  readonly signal: AbortSignal;
  /** Beside the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program to its end; answers its standard output. Throws with all that it wrote if it ends with another status than 0. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { cwd, signal, env }: RunProgramOptions,
): Promise<string> {
  const child = spawn(program, args, {
    cwd,
    signal,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk));
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (status === 0) return output;
  throw new Error(`${program} ${args.join(' ')} ended with status ${status}:\n${output}${errors}`);
}
