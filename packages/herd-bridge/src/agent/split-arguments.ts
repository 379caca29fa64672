import { split } from 'shlex';

/**
 * Splits a task's arguments as an original agent on Linux does. It starts processes through Mono, which splits as a shell does
 * (`g_shell_parse_argv`): quotes group, a backslash takes the next character as it is, nothing is expanded. A text whose quotes
 * do not end, with which Mono starts nothing, is split at spaces and tabs, as .NET does with a text that has no double quotes:
 * the wire has none.
 */
export function splitArguments(text: string): string[] {
  try {
    return split(text);
  } catch {
    return text.split(/[ \t]+/).filter((part) => part !== '');
  }
}
