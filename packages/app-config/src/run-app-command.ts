import { isDroverError, messageOf } from '@drover/lease-kit';
import { CommanderError, type Command } from 'commander';
import { exitCodeOfError } from './exit-code-of-error.ts';
import { exitCodes } from './exit-codes.ts';

/**
 * Runs the command of an app that is a program of its own, to its end. What goes wrong is said on standard error, with its
 * code, and sets the exit code of the process, unless the command has set one.
 */
export async function runAppCommand(command: Command, argv: readonly string[]): Promise<void> {
  try {
    await command.exitOverride().showHelpAfterError(`(${command.name()} --help tells more)`).parseAsync(argv, {
      from: 'user',
    });
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
      return;
    }
    const code = isDroverError(error) ? ` (${error.code})` : '';
    process.stderr.write(`${command.name()}: ${messageOf(error)}${code}\n`);
    if (!isDroverError(error) && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
    process.exitCode ||= exitCodeOfError(error);
  }
}
