import tab from '@bomb.sh/tab/commander';
import { Command, Help, Option } from 'commander';
import type { CommandContext } from './command-context.ts';
import { version } from './version.ts';

/**
 * The whole command line. The apps are loaded only for a command line that runs, describes or completes one, so that a
 * question to a server is not kept waiting by the code of servers and agents.
 */
export async function createProgram(context: CommandContext, argv: readonly string[]): Promise<Command> {
  const program = new Command('drover')
    .description('Leases work to a fleet of machines.')
    .version(version)
    // What stands behind the name of an inner command belongs to that one.
    .enablePositionalOptions()
    .exitOverride();
  // An app that runs for months needs none of what the other commands are made of.
  if (!['server', 'agent', 'worker'].includes(argv[0] ?? '')) {
    const { addCommands } = await import('./commands/add-commands.ts');
    await addCommands(program, context);
  }
  program.addCommand(await appCommand('server', 'run a server', argv));
  program.addCommand(await appCommand('agent', 'run an agent on this machine', argv));
  program.addCommand(await appCommand('worker', 'compile for others on this machine', argv));
  for (const command of [program, ...allCommands(program)]) {
    command.exitOverride().showHelpAfterError(hintOf(command)).configureHelp({ optionDescription });
  }
  tab(program, { completionCommandName: 'completion' });
  return program;
}

/** The command of an app, or its name and description alone where the command line does not ask for more. */
async function appCommand(
  name: 'server' | 'agent' | 'worker',
  description: string,
  argv: readonly string[],
): Promise<Command> {
  const isAsked = argv[0] === name || (argv[0] === 'help' && argv[1] === name) || argv[0] === 'complete';
  if (!isAsked) return new Command(name).usage('[options]').description(description);
  switch (name) {
    case 'server':
      return (await import('@drover/server')).createServerCommand();
    case 'agent':
      return (await import('@drover/agent')).createAgentCommand();
    case 'worker':
      return (await import('@drover/worker')).createWorkerCommand();
  }
}

/** What follows the error of a wrong command line: what is allowed here, or where that is told. */
function hintOf(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at; at = at.parent) names.unshift(at.name());
  const inner = command.commands.map((one) => one.name()).join(', ');
  return `${inner === '' ? '' : `commands: ${inner}\n`}(${names.join(' ')} --help tells more)`;
}

/** A default that is nothing is not worth a word: the description says what absence means. */
function optionDescription(option: Option): string {
  const isNothing = ['', 0, false].includes(option.defaultValue as never) || String(option.defaultValue) === '';
  const shown = isNothing ? Object.assign(new Option(option.flags), option, { defaultValue: undefined }) : option;
  return new Help().optionDescription(shown);
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((inner) => [inner, ...allCommands(inner)]);
}
