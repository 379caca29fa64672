import type { Command } from 'commander';
import { UsageError, type CommandContext } from '../command-context.ts';

/** `drover cc COMPILER …`: compiles on workers where it can, and here where it cannot. */
export function addCcCommand(program: Command, context: CommandContext): void {
  program
    .command('cc')
    .description('compile on workers, or here: drover cc gcc -c a.c')
    .usage('[--daemon | <compiler> <arguments...>]')
    .argument('[words...]', 'the compiler and its arguments')
    .option('--daemon', 'be the client daemon; the launcher starts it by itself')
    .passThroughOptions()
    .action(async ([name, ...words]: readonly string[], options: { readonly daemon?: boolean }) => {
      if (options.daemon) {
        if (name !== undefined) throw new UsageError('--daemon takes no compiler');
        // Loaded only here: most commands compile nothing.
        const { runCcDaemon } = await import('../cc/run-cc-daemon.ts');
        return runCcDaemon(context);
      }
      if (name === undefined) throw new UsageError('say which compiler, e.g. drover cc gcc -c a.c');
      const { runCompiler } = await import('../cc/run-compiler.ts');
      context.exit(await runCompiler(name, words, context));
    });
}
