import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';
import { addHerdRunCommands } from './herd-run-commands.ts';

/** `drover herd …`: agents on the LAN, with no server. */
export function addHerdCommands(program: Command, context: CommandContext): void {
  const herd = program.command('herd').description('jobs straight to agents on the LAN, with no server');
  addHerdRunCommands(herd, context);
}
