import { ConnectError } from '@connectrpc/connect';
import { exitCodeOfError, exitCodes } from '@drover/app-config';
import { isDroverError, messageOf } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { CommanderError } from 'commander';
import { UsageError, type CommandContext } from './command-context.ts';
import { connectionFailure } from './connection-failure.ts';
import { createProgram } from './program.ts';

/** Runs a command line to its end; answers the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => stop.abort(signal);
  let code: number = exitCodes.ok;
  const context: CommandContext = {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: stop.signal,
    exit: (given) => void (code = given),
  };
  const program = await createProgram(context, argv);
  // Commands that run until they are stopped listen themselves, for they have two ways to stop.
  if (!['server', 'agent', 'up'].includes(argv[0] ?? '')) {
    process.once('SIGINT', onSignal);
    process.once('SIGTERM', onSignal);
  }
  try {
    await program.parseAsync(argv, { from: 'user' });
    return code;
  } catch (error) {
    if (stop.signal.aborted) return stop.signal.reason === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted;
    return report(error);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}

/** Says on standard error what went wrong, with its code; answers the exit code. */
function report(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  const error = thrown instanceof ConnectError ? droverErrorFromConnect(thrown) : thrown;
  if (error instanceof UsageError) {
    process.stderr.write(`drover: ${error.message}\n`);
    return exitCodes.usage;
  }
  const failure = connectionFailure(error);
  if (failure !== undefined) {
    process.stderr.write(`drover: ${failure.text} (${failure.code})\n`);
    return failure.exitCode;
  }
  const code = isDroverError(error) ? ` (${error.code})` : '';
  process.stderr.write(`drover: ${messageOf(error)}${code}\n`);
  if (!isDroverError(error) && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  return exitCodeOfError(error);
}

const code = await main(process.argv.slice(2));
// A command that ended well may have said more about its end itself.
if (code !== exitCodes.ok) process.exitCode = code;
