import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { addCcCommand } from './cc-command.ts';
import { addEnrolmentCommands } from './enrolment-commands.ts';
import { addBundleCommands } from './bundle-commands.ts';
import { addAccessCommands } from './access-commands.ts';
import { addCompileCommands } from './compile-commands.ts';
import { addDiscoverCommand } from './discover-command.ts';
import { addFleetCommands } from './fleet-commands.ts';
import { addHerdCommands } from './herd-commands.ts';
import { addJobCommands } from './job-commands.ts';
import { addSubmitCommand } from './submit-command.ts';
import { addSignInCommands } from './sign-in-commands.ts';
import { addAgentCommands } from './agent-commands.ts';
import { addPoolCommands } from './pool-commands.ts';
import { addWorkspaceCommands } from './workspace-commands.ts';
import { addUpCommand } from './up-command.ts';

/** Every command but those of the apps, in the order in which help names them. */
export async function addCommands(program: Command, context: CommandContext): Promise<void> {
  addUpCommand(program, context);
  addJobCommands(program, context);
  addSubmitCommand(program, context);
  addFleetCommands(program, context);
  addAgentCommands(program, context);
  addEnrolmentCommands(program, context);
  addBundleCommands(program, context);
  addSignInCommands(program, context);
  addAccessCommands(program, context);
  addPoolCommands(program, context);
  addWorkspaceCommands(program, context);
  addCompileCommands(program, context);
  addDiscoverCommand(program, context);
  addCcCommand(program, context);
  await addHerdCommands(program, context);
}
