import { oneResult, type Check } from './check.ts';
import { runCommand } from './run-command.ts';

/** A check that passes when a command ends with status 0. */
export function commandCheck(name: string, command: string, args: readonly string[], lanes: 1 | 2 = 1): Check {
  return {
    name,
    lanes,
    async run(signal) {
      const { status, output } = await runCommand(command, args, { signal });
      return oneResult(status === 0, output);
    },
  };
}
