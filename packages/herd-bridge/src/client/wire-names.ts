import { DroverError } from '@drover/lease-kit';
import { isAscii } from '../wire/wire-text.ts';

/** How the paths of a job are said to an agent. */
export interface WireNamesOptions {
  /**
   * Folder of the agent's tree that the job has for itself, without `/`. Empty: the tree that all jobs of the agent share, as the
   * original client has it.
   */
  readonly folder: string;
  readonly isWindows: boolean;
}

/**
 * Names of files on the wire. An original agent keeps the files of all jobs in one tree and removes nothing: without a folder
 * of its own, a job whose task fails would be sent what an earlier job left under the same name.
 */
export class WireNames {
  readonly isWindows: boolean;
  readonly #folder: string;

  constructor({ folder, isWindows }: WireNamesOptions) {
    this.#folder = folder;
    this.isWindows = isWindows;
  }

  /** The name of a path of the job's folder. Throws `HERD_WIRE_NOT_SENDABLE`. */
  of(path: string): string {
    const why = this.#fault(path);
    if (why === undefined) return this.#folder === '' ? path : `${this.#folder}/${path}`;
    throw new DroverError({
      code: 'HERD_WIRE_NOT_SENDABLE',
      advice: 'fix-input',
      message: `path ${JSON.stringify(path.slice(0, 256))} cannot be said in the original Herd protocol: ${why}`,
    });
  }

  #fault(path: string): string | undefined {
    if (!isAscii(path)) return 'only ASCII arrives as it was sent';
    if (/["<>\u0000-\u001f\u007f]/.test(path)) return 'there is no escape for ", <, > and control characters';
    const parts = path.split('/');
    if (parts.includes('..') || parts.includes('') || parts.includes('.')) return 'it is not a plain relative path';
    if (this.isWindows && /[\\:*?|]|[. ](\/|$)/.test(path)) return 'Windows has no such file names';
    if (this.#folder !== '') return undefined;
    // The agent strips these, and would keep the file under another name than the arguments say.
    if (path.startsWith('.')) return 'a name that starts with a dot needs a folder of its own for the job';
    return undefined;
  }
}
