import { DroverError } from '@drover/lease-kit';
import { splitResponseText } from './split-response-text.ts';

/** Bounds of response files. */
export interface ExpandResponseFilesOptions {
  /** Default 2,000, as GCC has it. */
  readonly filesMax?: number;
  /** Of the result. Default 65,536. */
  readonly argumentsMax?: number;
}

/** What reads the files. */
export interface ExpandResponseFilesDeps {
  /** The text of a file, named as on the command line; undefined if it cannot be read: then `@file` is an argument as it stands. */
  readonly readFile: (path: string) => Promise<string | undefined>;
}

/**
 * Replaces each `@file` by the arguments in it, and those in turn. Throws `RESPONSE_FILES_TOO_MANY` when a bound is passed,
 * as by a file that names itself.
 */
export async function expandResponseFiles(
  texts: readonly string[],
  options: ExpandResponseFilesOptions,
  deps: ExpandResponseFilesDeps,
): Promise<string[]> {
  const { filesMax = 2_000, argumentsMax = 65_536 } = options;
  const pending = [...texts].reverse();
  const found: string[] = [];
  let files = 0;
  while (pending.length > 0) {
    const text = pending.pop()!;
    const content = text.length > 1 && text.startsWith('@') ? await deps.readFile(text.slice(1)) : undefined;
    if (content === undefined) found.push(text);
    else {
      const inner = splitResponseText(content);
      if (++files > filesMax || pending.length + inner.length > argumentsMax) throw tooMany(filesMax, argumentsMax);
      for (let at = inner.length - 1; at >= 0; at--) pending.push(inner[at]!);
    }
    if (found.length > argumentsMax) throw tooMany(filesMax, argumentsMax);
  }
  return found;
}

function tooMany(filesMax: number, argumentsMax: number): DroverError {
  return new DroverError({
    code: 'RESPONSE_FILES_TOO_MANY',
    advice: 'fix-input',
    message: `The command line's response files are too many or too long; allowed are ${filesMax} files and ${argumentsMax} arguments`,
  });
}
