import { configFromCommand, duration } from '@drover/app-config';
import { DroverError } from '@drover/lease-kit';
import { removeBusyFile, writeBusyFile } from '@drover/machine-care';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { agentConfig, type AgentConfig } from './agent-config.ts';
import { busyFileOf } from './care-for-machine.ts';

interface BusyOptions {
  readonly for?: string;
  readonly comment: string;
}

/**
 * `drover agent busy` and `drover agent free`: tell the agent of this machine that it is needed, and no longer. They find it
 * by its configuration, `--state-dir` above all, and need neither its process nor a server.
 */
export function addBusyCommands(agent: Command): void {
  const configOf = (): AgentConfig => {
    const request = configFromCommand(agentConfig, agent, { env: process.env, cwd: process.cwd() });
    if (request.kind === 'run' && existsSync(request.config.value.state.dir)) return request.config.value;
    const dir = request.kind === 'run' ? request.config.value.state.dir : '';
    throw new DroverError({
      code: 'AGENT_STATE_MISSING',
      advice: 'not-found',
      message: `there is no state folder of an agent at ${JSON.stringify(dir)}: give --state-dir, or --config, as the agent has it`,
    });
  };
  const found = '\nThe agent is found as it is configured: by --state-dir, --config, or DROVER_AGENT_STATE_DIR.';
  const say = (text: string): void => void process.stdout.write(`${text}\n`);

  agent
    .command('busy')
    .description('have the agent of this machine stop what runs and take no leases: somebody needs the machine')
    .addHelpText('after', found)
    .option('--for <duration>', 'how long, e.g. 1h; absent: until `drover agent free`')
    .option('--comment <text>', 'why, for people', '')
    .action(async (options: BusyOptions) => {
      const untilMs = options.for === undefined ? undefined : Date.now() + durationMs(options.for);
      await writeBusyFile(busyFileOf(configOf()), {
        comment: options.comment,
        ...(untilMs === undefined ? {} : { untilMs }),
      });
      say(untilMs === undefined ? 'busy until `drover agent free`' : `busy until ${new Date(untilMs).toISOString()}`);
    });

  agent
    .command('free')
    .description('have the agent of this machine take leases again')
    .addHelpText('after', found)
    .action(async () => {
      const was = await removeBusyFile(busyFileOf(configOf()));
      say(was ? 'the machine is free for leases' : 'nobody had said that the machine is needed');
    });
}

function durationMs(text: string): number {
  const parsed = duration().safeParse(text);
  if (parsed.success && parsed.data > 0) return parsed.data;
  const problem = parsed.success ? 'is no time at all' : parsed.error.issues[0]!.message;
  throw new DroverError({
    code: 'OPTION_INVALID',
    advice: 'fix-input',
    message: `--for: ${JSON.stringify(text)} ${problem}`,
  });
}
