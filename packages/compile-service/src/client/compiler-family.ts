import { stat } from 'node:fs/promises';
import type { CompilerFamily } from '@drover/compiler-arguments';
import { runStep } from './run-step.ts';

const known = new Map<string, CompilerFamily | undefined>();
const knownMax = 256;

/** What the program at `path` is, by what it says of its version; undefined: neither. Asked once for each program as it is. */
export async function compilerFamilyOf(path: string, signal: AbortSignal): Promise<CompilerFamily | undefined> {
  const { mtimeMs, size, ino } = await stat(path);
  const key = `${path}\0${mtimeMs}\0${size}\0${ino}`;
  if (known.has(key)) return known.get(key);
  const { stdout } = await runStep(
    {
      program: path,
      arguments: ['--version'],
      workingFolder: '/',
      environment: { LC_ALL: 'C', PATH: process.env['PATH'] ?? '' },
    },
    signal,
  );
  const text = stdout.toString('latin1');
  const family = /\bclang version\b/.test(text) ? 'clang' : /Free Software Foundation/.test(text) ? 'gcc' : undefined;
  if (known.size >= knownMax) known.clear();
  known.set(key, family);
  return family;
}
