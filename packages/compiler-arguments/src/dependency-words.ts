import type { CommandWord } from './command-words.ts';

/** The dependency file that a command line asks for. */
export interface DependencyFile {
  /** Absent: none. */
  readonly path?: string;
  /** What the first step must be told, since it does not know the object's name. */
  readonly added: readonly string[];
}

/**
 * What `-MD` and `-MMD` mean for the object `output`: without `-MF` the file has the object's name and the ending `.d`;
 * without `-MT` and `-MQ` its target is the object as it stands behind `-o`, else the compiler's own choice.
 */
export function dependencyWords(
  words: readonly CommandWord[],
  names: { readonly input: string; readonly output: string },
): DependencyFile {
  if (!words.some((word) => word.kind === 'flag' && (word.name === '-MD' || word.name === '-MMD')))
    return { added: [] };
  const file = words.findLast((word) => word.kind === 'option' && word.name === '-MF');
  const isTold = words.some((word) => word.kind === 'option' && (word.name === '-MT' || word.name === '-MQ'));
  const isNamed = words.some((word) => word.kind === 'option' && word.name === '-o');
  const path = file?.kind === 'option' ? file.value : withEndingD(names.output);
  return {
    path,
    added: [...(file === undefined ? ['-MF', path] : []), ...(isNamed && !isTold ? ['-MQ', names.output] : [])],
  };
}

function withEndingD(output: string): string {
  const slash = output.lastIndexOf('/');
  const dot = output.lastIndexOf('.');
  return `${dot > slash + 1 ? output.slice(0, dot) : output}.d`;
}
