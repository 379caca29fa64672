import { messageOf } from '@drover/lease-kit';
import { split } from 'shlex';

/** Arguments that were written as one text, split as a POSIX shell does, without its variables; or why they can't be. */
export function argumentsFromText(text: string): {
  readonly arguments: readonly string[];
  readonly fault?: string | undefined;
} {
  try {
    return { arguments: split(text) };
  } catch (error) {
    const fault = `${JSON.stringify(text)} cannot be split: ${messageOf(error)}; allowed is what a shell takes`;
    return { arguments: [], fault };
  }
}
