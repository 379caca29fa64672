import { lstatSync, mkdirSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { imageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';

/** As many as Linux follows in one path. */
const linksMax = 40;

/**
 * A folder whose paths are looked up as if it were the root of the file system: links in it lead to places in it, whatever they
 * say. Nobody else may write to it meanwhile.
 */
export class RootFolder {
  readonly path: string;
  readonly #limits: ImageLimits;

  constructor(path: string, limits: ImageLimits) {
    this.path = path;
    this.#limits = limits;
  }

  /** The parts of a name in an archive, none for the root itself. Throws `IMAGE_INVALID`, `IMAGE_TOO_LARGE`. */
  partsOf(name: string): readonly string[] {
    if (name === '') throw imageFault('IMAGE_INVALID', 'an entry of the image has no name');
    const shown = JSON.stringify(name.slice(0, 200));
    if (Buffer.byteLength(name) > this.#limits.pathBytesMax) {
      throw imageFault(
        'IMAGE_TOO_LARGE',
        `the path ${shown}… of the image has over ${this.#limits.pathBytesMax} bytes`,
      );
    }
    // U+FFFD stands where bytes were no UTF-8: two such names would become one.
    if (/[\0\uFFFD]/.test(name)) throw imageFault('IMAGE_INVALID', `the path ${shown} of the image is no UTF-8 text`);
    if (name.startsWith('/'))
      throw imageFault('IMAGE_INVALID', `the path ${shown} of the image leaves its root: it is absolute`);
    const parts = name.split('/').filter((part) => part !== '' && part !== '.');
    if (parts.includes('..'))
      throw imageFault('IMAGE_INVALID', `the path ${shown} of the image leaves its root: it has ".."`);
    if (parts.some((part) => Buffer.byteLength(part) > 255)) {
      throw imageFault('IMAGE_TOO_LARGE', `a name in the path ${shown} of the image has over 255 bytes`);
    }
    this.#checkDepth(parts);
    return parts;
  }

  /** Where a folder really is, with all links followed in the root; it and those above it need not be. Throws `IMAGE_INVALID`. */
  resolve(parts: readonly string[]): readonly string[] {
    const real: string[] = [];
    const pending = [...parts].reverse();
    for (let links = 0; pending.length > 0;) {
      const part = pending.pop()!;
      if (part === '' || part === '.') continue;
      if (part === '..') {
        real.pop();
        continue;
      }
      real.push(part);
      const found = this.stat(real);
      if (found?.isSymbolicLink() === true) {
        if (++links > linksMax)
          throw imageFault('IMAGE_INVALID', `the path ${parts.join('/')} of the image has over ${linksMax} links`);
        const target = readlinkSync(this.at(real));
        real.pop();
        if (target.startsWith('/')) real.length = 0;
        pending.push(...target.split('/').reverse());
      } else if (found !== undefined && !found.isDirectory()) {
        throw imageFault(
          'IMAGE_INVALID',
          `the path ${parts.join('/')} of the image lies below ${real.join('/')}, which is no folder`,
        );
      }
    }
    this.#checkDepth(real);
    return real;
  }

  /** Absolute, of resolved parts. */
  at(real: readonly string[]): string {
    return join(this.path, ...real);
  }

  /** What stands there, links not followed; undefined if nothing does. */
  stat(real: readonly string[]): Stats | undefined {
    return lstatSync(this.at(real), { throwIfNoEntry: false });
  }

  /** Makes the folders of a resolved path that are not there; told of each. */
  makeFolders(real: readonly string[], onMade: (made: readonly string[]) => void): void {
    for (let length = 1; length <= real.length; length++) {
      const folder = real.slice(0, length);
      if (this.stat(folder) !== undefined) continue;
      mkdirSync(this.at(folder), { mode: 0o755 });
      onMade(folder);
    }
  }

  #checkDepth(parts: readonly string[]): void {
    if (parts.length > this.#limits.depthMax) {
      throw imageFault(
        'IMAGE_TOO_LARGE',
        `a path of the image has over ${this.#limits.depthMax} folders: ${parts.slice(0, 5).join('/')}…`,
      );
    }
  }
}
