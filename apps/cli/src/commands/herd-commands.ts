import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { addDiscoverCommand } from './discover-command.ts';
import { addHerdPairingCommands } from './herd-pairing-commands.ts';
import { addHerdRunCommands } from './herd-run-commands.ts';

/** `drover herd …`: agents on the LAN, with no server. */
export async function addHerdCommands(program: Command, context: CommandContext): Promise<void> {
  const herd = program.command('herd').description('jobs straight to agents on the LAN, with no server');
  // The same as `drover discover`.
  addDiscoverCommand(herd, context);
  addHerdRunCommands(herd, context);
  addHerdPairingCommands(herd, context);
  // Light: what these need of the agent is loaded when one of them runs.
  const { addHerdAccessCommands } = await import('@drover/agent/herd-access');
  addHerdAccessCommands(herd, context);
}
