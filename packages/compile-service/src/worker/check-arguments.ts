import { posix } from 'node:path';
import { isPrefixMap, pathsOfArguments } from './argument-paths.ts';
import { compileError } from './worker-errors.ts';

const argumentsMax = 10_000;
const argumentBytesMax = 512 * 1_024;
const hostPaths = ['/home/', '/Users/', 'C:\\Users\\'];
/** Where images have their own programs and headers. */
const imageFolders = ['/usr', '/opt', '/lib', '/lib32', '/lib64'];
/** What loads code into the compiler, or has it run other programs. */
const refusedOptions: readonly [RegExp, string][] = [
  [/^-{1,2}f(?:pass-)?plugin/, 'plugins'],
  [/^-load$|^-Xclang=-load/, 'plugins'],
  [/^-{1,2}specs?(?:=|$)/, 'specs'],
  [/^-wrapper$/, 'wrappers'],
  [/^-{1,2}config/, 'configuration files'],
  [/^@/, 'response files'],
];
const compilerName = /^(?:\/(?:usr|opt)\/[\w./+-]*\/)?(?:[\w.]+-)*(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+)(?:-[\d.]+)?$/;

/** True for a path that is a folder or stands below it, both absolute and without `..`. */
export function isBelow(folder: string, path: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** Throws `COMPILE_ARGUMENT_REFUSED` for a command line that names what a worker must not touch, or that is none of a compiler. */
export function checkArguments(args: readonly string[], workingFolder: string): void {
  const compiler = args[0] ?? '';
  if (!compilerName.test(compiler) || compiler.split('/').includes('..')) {
    throw refused(
      compiler,
      'it is no compiler; allowed are gcc, g++, cc, c++, clang and clang++, with a target and a version',
    );
  }
  if (args.length > argumentsMax || args.reduce((sum, one) => sum + one.length + 1, 0) > argumentBytesMax) {
    throw refused(
      '',
      `the command line is too long; allowed are ${argumentsMax} arguments and ${argumentBytesMax} bytes`,
    );
  }
  const folder = posix.normalize(workingFolder);
  if (!isBelow('/src', folder)) throw refused(workingFolder, 'the working folder is not below /src');
  for (const argument of [workingFolder, ...args]) {
    if (argument.includes('\0')) throw refused(argument, 'it has a zero byte');
    const host = isPrefixMap(argument) ? undefined : hostPaths.find((path) => argument.includes(path));
    if (host !== undefined) throw refused(argument, `it names a path of the client, ${host}…`);
  }
  for (const argument of args) {
    const [, what] = refusedOptions.find(([pattern]) => pattern.test(argument)) ?? [];
    if (what !== undefined) throw refused(argument, `${what} are not allowed`);
  }
  pathsOfArguments(args).forEach((paths, index) => {
    for (const { text, isText } of paths) if (!isText) checkPath(args, index, text, folder);
  });
}

const outputOptions = /^(?:-o|-MF)/;

function checkPath(args: readonly string[], index: number, text: string, folder: string): void {
  const path = posix.resolve(folder, text);
  const argument = args[index]!;
  const isOutput = outputOptions.test(argument) || outputOptions.test(index > 1 ? args[index - 1]! : '');
  if (isOutput && !isBelow('/out', path)) throw refused(argument, 'outputs go below /out');
  if (['/src', '/out', ...imageFolders].some((allowed) => isBelow(allowed, path))) return;
  throw refused(
    argument,
    `it leaves what a compile may see; allowed are /src, /out, and ${imageFolders.join(', ')} of the image`,
  );
}

function refused(argument: string, why: string): Error {
  const shown = argument === '' ? '' : `${JSON.stringify(argument.slice(0, 200))}: `;
  return compileError('COMPILE_ARGUMENT_REFUSED', `${shown}${why}`);
}
