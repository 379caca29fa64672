import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** Runs a script with sh in a folder; answers how long it took, in ms. Throws if it fails. */
export async function timeScript(script: string, cwd: string, signal: AbortSignal): Promise<number> {
  const startedAtMs = performance.now();
  const child = spawn('/bin/sh', ['-ec', script], { cwd, signal, stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`the script ended with ${code}: ${script}`);
  return performance.now() - startedAtMs;
}
