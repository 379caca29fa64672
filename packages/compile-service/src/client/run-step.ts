import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A program that is run here for a compile. */
export interface StepRequest {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly workingFolder: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** What it wrote. */
export interface StepResult {
  /** Undefined: a signal ended it, or it wrote too much. */
  readonly exitCode: number | undefined;
  readonly stdout: Buffer;
  /** Whether it said anything on standard error. */
  readonly hasSaid: boolean;
}

const outputSizeBytesMax = 256 * 1024 * 1024;

/** Runs a program to its end. An abort kills it and throws the signal's reason; what cannot start throws what Node throws. */
export async function runStep(request: StepRequest, signal: AbortSignal): Promise<StepResult> {
  signal.throwIfAborted();
  const child = spawn(request.program, request.arguments, {
    cwd: request.workingFolder,
    env: request.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
    killSignal: 'SIGKILL',
  });
  const chunks: Buffer[] = [];
  let size = 0;
  let hasSaid = false;
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > outputSizeBytesMax) child.kill('SIGKILL');
    else chunks.push(chunk);
  });
  child.stderr.on('data', () => (hasSaid = true));
  const [code] = (await once(child, 'close')) as [number | null];
  return { exitCode: code ?? undefined, stdout: Buffer.concat(chunks), hasSaid };
}
