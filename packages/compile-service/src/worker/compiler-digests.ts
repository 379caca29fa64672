import type { Sandbox } from '@drover/vm-runtime';
import { createBlake3 } from '../blake3.ts';
import { compileError } from './worker-errors.ts';

/** A compiler in a sandbox. */
export interface CompilerAsked {
  readonly sandbox: Sandbox;
  readonly imageDigest: string;
  /** A name or an absolute path. */
  readonly compiler: string;
  /** The program that the driver runs for the language. */
  readonly program: 'cc1' | 'cc1plus';
  /** Where names are found. */
  readonly searchPath: string;
}

const answersMax = 1_024;
const programBytesMax = 1_024 ** 3;
const readMs = 60_000;
const notFoundExit = 66;

/** The driver, then what it runs for the language and for assembly, as it says itself: each as it lies in the sandbox. */
const readPrograms = `
p=$(command -v -- "$1") || exit ${notFoundExit}
cat -- "$p" || exit 67
for n in $2 as; do
  q=$("$p" -print-prog-name=$n 2>/dev/null) && q=$(command -v -- "$q") && { echo "$n"; cat -- "$q" || exit 67; }
done
exit 0`;

/** BLAKE3 of the programs that a compiler is, read where it runs. What was read once of an image is kept. */
export class CompilerDigests {
  readonly #known = new Map<string, Promise<Uint8Array>>();

  /** 32 bytes. Throws `COMPILER_NOT_FOUND`, `COMPILE_SANDBOX_LOST`. */
  async of(asked: CompilerAsked, signal: AbortSignal): Promise<Uint8Array> {
    const { sandbox, imageDigest, compiler, program, searchPath } = asked;
    // What runs on the host itself may change under the name of an image: then each sandbox counts for itself.
    const place = sandbox.isolation.level === 'none' ? sandbox.id : imageDigest;
    const key = JSON.stringify([place, compiler, program, searchPath]);
    for (;;) {
      signal.throwIfAborted();
      const known = this.#known.get(key);
      if (known === undefined) break;
      try {
        return await known;
      } catch {
        // Another's was cut short; the next in line reads it itself.
        if (this.#known.get(key) === known) this.#known.delete(key);
      }
    }
    const reading = readDigest(asked, signal);
    this.#known.set(key, reading);
    if (this.#known.size > answersMax) this.#known.delete(this.#known.keys().next().value!);
    try {
      return await reading;
    } catch (error) {
      if (this.#known.get(key) === reading) this.#known.delete(key);
      throw error;
    }
  }
}

async function readDigest(
  { sandbox, compiler, program, searchPath }: CompilerAsked,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const hasher = await createBlake3();
  const exec = sandbox.exec(
    {
      arguments: ['/bin/sh', '-c', readPrograms, 'sh', compiler, program],
      environment: { PATH: searchPath },
      workingFolder: '/',
      timeoutMs: readMs,
      outputBytesMax: programBytesMax,
    },
    signal,
  );
  for await (const { stream, bytes } of exec.output) if (stream === 'stdout') hasher.update(bytes);
  const end = await exec.ended;
  signal.throwIfAborted();
  if (end.exitCode === 0) return hasher.digest();
  if (end.exitCode === notFoundExit) {
    throw compileError('COMPILER_NOT_FOUND', `the image has no ${JSON.stringify(compiler)} on ${searchPath}`);
  }
  throw compileError(
    'COMPILE_SANDBOX_LOST',
    `${compiler} cannot be read in its sandbox: ${end.message || end.exitCode}`,
  );
}
