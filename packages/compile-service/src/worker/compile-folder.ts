import { posix } from 'node:path';
import { pathsOfArguments } from './argument-paths.ts';

const ownFolders = ['/src', '/out'];

/**
 * The folder that one compile has in a sandbox, with its own `src` and `out`: what stands below `/src` and `/out` in its command line
 * is put there, and what comes of it is as if it had stood there.
 */
export class CompileFolder {
  /** Absolute, in the sandbox. */
  readonly path: string;

  constructor(workFolder: string, compileId: string) {
    this.path = posix.join(workFolder, compileId);
  }

  /** Where a path below `/src` or `/out` is; others stay. */
  place(path: string): string {
    return ownFolders.some((own) => path === own || path.startsWith(`${own}/`)) ? this.path + path : path;
  }

  /** The command line for this folder, with what keeps the folder out of the objects. */
  placeArguments(args: readonly string[]): string[] {
    const paths = pathsOfArguments(args);
    const placed = args.map((argument, index) =>
      // From the end, so that what is found keeps its place.
      paths[index]!.toReversed().reduce(
        (text, { text: path, start }) => text.slice(0, start) + this.place(path) + text.slice(start + path.length),
        argument,
      ),
    );
    const [compiler, ...rest] = placed;
    // First, for of several that fit the compiler takes the last: those of the client go before.
    return [compiler!, ...ownFolders.map((own) => `-ffile-prefix-map=${this.path}${own}=${own}`), ...rest];
  }

  /** What was said or written about this folder, as if it had been `/src` and `/out`. */
  unplace(bytes: Uint8Array): Uint8Array {
    const prefix = Buffer.from(this.path);
    const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const parts: Buffer[] = [];
    let from = 0;
    for (let at = all.indexOf(prefix); at >= 0; at = all.indexOf(prefix, from)) {
      parts.push(all.subarray(from, at));
      from = at + prefix.length;
    }
    return parts.length === 0 ? bytes : Buffer.concat([...parts, all.subarray(from)]);
  }
}
