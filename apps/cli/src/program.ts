import tab from '@bomb.sh/tab/commander';
import { createAgentCommand } from '@drover/agent';
import { createServerCommand } from '@drover/server';
import { Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { addFleetCommands } from './commands/fleet-commands.ts';
import { addJobCommands } from './commands/job-commands.ts';
import { addUpCommand } from './commands/up-command.ts';
import { version } from './version.ts';

/** The whole command line. */
export function createProgram(context: CommandContext): Command {
  const program = new Command('drover')
    .description('Leases work to a fleet of machines.')
    .version(version)
    .showHelpAfterError('(--help tells more)')
    .exitOverride();
  addUpCommand(program, context);
  addJobCommands(program, context);
  addFleetCommands(program, context);
  program.addCommand(createServerCommand());
  program.addCommand(createAgentCommand());
  for (const command of allCommands(program)) command.exitOverride();
  tab(program, { completionCommandName: 'completion' });
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((inner) => [inner, ...allCommands(inner)]);
}
