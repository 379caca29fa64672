import type { Compile } from '@drover/compile-protocol';
import { isDroverError, messageOf } from '@drover/lease-kit';
import type { ExecEnd, FileToPut, SandboxUse } from '@drover/vm-runtime';
import { posix } from 'node:path';
import { CompileFolder } from './compile-folder.ts';
import { compileError } from './worker-errors.ts';

/** Bounds of one compile. */
export interface CompileBounds {
  readonly timeoutMs: number;
  /** Of all outputs together. */
  readonly outputBytesMax: number;
  /** Of standard output and standard error together. */
  readonly textBytesMax: number;
}

/** A file that a compile made. */
export interface CompiledFile {
  /** Below /out, relative. */
  readonly path: string;
  readonly mode: number;
  readonly content: Uint8Array;
}

/** What a compiler did. */
export interface CompileRun {
  readonly exitCode: number;
  /** Empty: it was not ended by a signal. */
  readonly signal: string;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** The object first, then those asked for, in that order, as far as they were made. */
  readonly outputs: readonly CompiledFile[];
}

const removeMs = 10_000;
/** Makes the folders that the compiler writes to. */
const marker = '.drover';
/** How compilers say that the sandbox is too small for them. */
const shortage =
  /No space left on device|Resource temporarily unavailable|Cannot allocate memory|virtual memory exhausted|out of memory|[Cc]annot fork|(?:fork|vfork|posix_spawn).*failed/i;

/**
 * Runs a compile in a folder of its own in a sandbox, which is gone afterwards. Ends the use of the sandbox. Throws what keeps it
 * from an end of its own: `COMPILE_OUT_OF_MEMORY`, `COMPILE_TIMED_OUT`, `COMPILE_OUTPUT_TOO_LARGE`, `COMPILE_SANDBOX_FULL`,
 * `COMPILE_SANDBOX_LOST`; an abort kills it and throws the signal's reason.
 */
export async function runCompile(
  use: SandboxUse,
  compile: Compile,
  source: readonly FileToPut[],
  bounds: CompileBounds,
  signal: AbortSignal,
): Promise<CompileRun> {
  const { sandbox } = use;
  const folder = new CompileFolder(sandbox.workFolder, compile.compileId);
  let isClean = false;
  try {
    const working = folder.place(posix.normalize(compile.workingFolder));
    const at = (path: string): FileToPut => ({
      path: posix.join(path, marker),
      mode: 0o600,
      content: new Uint8Array(),
    });
    const wanted = outputPaths(compile);
    const folders = new Set([working, ...wanted.map((path) => posix.dirname(posix.join(folder.path, 'out', path)))]);
    const temporary = posix.join(folder.path, 'tmp');
    const placed = source.map((file) => ({ ...file, path: folder.place(file.path) }));
    await sandbox.put([...placed, ...[...folders, temporary].map(at)], signal);
    const exec = sandbox.exec(
      {
        arguments: folder.placeArguments(compile.arguments),
        environment: { PATH: searchPathOf(compile), ...compile.environment, TMPDIR: temporary },
        workingFolder: working,
        timeoutMs: bounds.timeoutMs,
        outputBytesMax: bounds.textBytesMax,
      },
      signal,
    );
    const texts = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    for await (const { stream, bytes } of exec.output) texts[stream].push(bytes);
    const end = await exec.ended;
    signal.throwIfAborted();
    const stderr = Buffer.concat(texts.stderr);
    checkEnd(end, stderr, bounds);
    const outputs = end.exitCode === 0 || wanted.length > 1 ? await collect(use, folder, wanted, bounds, signal) : [];
    await sandbox.remove(folder.path, AbortSignal.timeout(removeMs));
    isClean = true;
    return {
      exitCode: end.exitCode ?? 0,
      signal: end.exitCode === undefined ? (end.signal ?? 'SIGKILL') : '',
      stdout: folder.unplace(Buffer.concat(texts.stdout)),
      stderr: folder.unplace(stderr),
      outputs,
    };
  } catch (error) {
    signal.throwIfAborted();
    if (isDroverError(error, 'SANDBOX_GONE')) throw compileError('COMPILE_SANDBOX_LOST', messageOf(error), error);
    if (isDroverError(error, 'SANDBOX_DISK_FULL')) throw compileError('COMPILE_SANDBOX_FULL', messageOf(error), error);
    if (isDroverError(error, 'FILES_TOO_LARGE'))
      throw compileError('COMPILE_OUTPUT_TOO_LARGE', messageOf(error), error);
    throw error;
  } finally {
    // What cannot be cleaned up serves nobody any more.
    isClean ||= await sandbox.remove(folder.path, AbortSignal.timeout(removeMs)).then(
      () => true,
      () => false,
    );
    use.release(!isClean);
  }
}

/** Where names of programs are found. */
export function searchPathOf({ environment }: Compile): string {
  return environment['PATH'] || '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
}

/** What is to come back, below /out: the object, then what the client named. */
function outputPaths({ arguments: args, outputs }: Compile): string[] {
  const index = args.findLastIndex((argument) => argument === '-o');
  const object = args[index + 1] ?? '';
  const paths = [...(index > 0 ? [object] : []), ...outputs.map((path) => posix.resolve('/out', path))]
    .map((path) => posix.normalize(path))
    .filter((path) => path.startsWith('/out/'))
    .map((path) => path.slice('/out/'.length));
  return [...new Set(paths)];
}

async function collect(
  { sandbox }: SandboxUse,
  folder: CompileFolder,
  wanted: readonly string[],
  { outputBytesMax }: CompileBounds,
  signal: AbortSignal,
): Promise<CompiledFile[]> {
  const out = posix.join(folder.path, 'out');
  const found = new Map<string, CompiledFile>();
  if (wanted.length === 0) return [];
  for await (const file of sandbox.get(out, outputBytesMax, signal)) {
    const path = posix.relative(out, posix.resolve(out, file.path));
    const chunks: Uint8Array[] = [];
    for await (const chunk of file.content) chunks.push(chunk);
    if (!wanted.includes(path)) continue;
    const content = Buffer.concat(chunks);
    // Rules for make name the sources where the compiler saw them.
    found.set(path, {
      path,
      mode: file.mode & 0o777,
      content: path.endsWith('.d') ? folder.unplace(content) : content,
    });
  }
  return wanted.flatMap((path) => found.get(path) ?? []);
}

function checkEnd({ cause, message, exitCode, signal }: ExecEnd, stderr: Buffer, bounds: CompileBounds): void {
  switch (cause) {
    case 'out-of-memory':
      throw compileError('COMPILE_OUT_OF_MEMORY', 'the compile needs more memory than a sandbox of this worker has');
    case 'timed-out':
      throw compileError(
        'COMPILE_TIMED_OUT',
        `the compile takes longer than ${bounds.timeoutMs} ms, which vm.compile_timeout allows`,
      );
    case 'output-too-large':
      throw compileError('COMPILE_OUTPUT_TOO_LARGE', `the compiler says more than ${bounds.textBytesMax} bytes`);
    case 'could-not-start':
      throw compileError('COMPILER_NOT_FOUND', message);
    case 'sandbox-gone':
      throw compileError('COMPILE_SANDBOX_LOST', message);
    case undefined:
      break;
  }
  // That a sandbox was too small is not the source's fault: elsewhere it may well compile.
  const said = exitCode === 0 && signal === undefined ? undefined : shortage.exec(stderr.toString('latin1'))?.[0];
  if (said !== undefined)
    throw compileError('COMPILE_SANDBOX_FULL', `the sandbox is too small for the compile: ${said}`);
}
