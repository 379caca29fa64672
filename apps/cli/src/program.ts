import tab from '@bomb.sh/tab/commander';
import { Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { addFleetCommands } from './commands/fleet-commands.ts';
import { addJobCommands } from './commands/job-commands.ts';
import { addUpCommand } from './commands/up-command.ts';
import { version } from './version.ts';

/**
 * The whole command line. The apps are loaded only for a command line that runs, describes or completes one, so that a
 * question to a server is not kept waiting by the code of servers and agents.
 */
export async function createProgram(context: CommandContext, argv: readonly string[]): Promise<Command> {
  const program = new Command('drover')
    .description('Leases work to a fleet of machines.')
    .version(version)
    .showHelpAfterError('(--help tells more)')
    .exitOverride();
  addUpCommand(program, context);
  addJobCommands(program, context);
  addFleetCommands(program, context);
  program.addCommand(await appCommand('server', 'run a server', argv));
  program.addCommand(await appCommand('agent', 'run an agent on this machine', argv));
  for (const command of allCommands(program)) command.exitOverride();
  tab(program, { completionCommandName: 'completion' });
  return program;
}

/** The command of an app, or its name and description alone where the command line does not ask for more. */
async function appCommand(name: 'server' | 'agent', description: string, argv: readonly string[]): Promise<Command> {
  const isAsked = argv[0] === name || (argv[0] === 'help' && argv[1] === name) || argv[0] === 'complete';
  if (!isAsked) return new Command(name).usage('[options]').description(description);
  return name === 'server'
    ? (await import('@drover/server')).createServerCommand()
    : (await import('@drover/agent')).createAgentCommand();
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((inner) => [inner, ...allCommands(inner)]);
}
