import { durationFromMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { AgentState } from '@drover/control-api';
import {
  AddDowntimeResponseSchema,
  GetAgentResponseSchema,
  ListAgentsResponseSchema,
  ListDowntimesResponseSchema,
  RemoveAgentResponseSchema,
  RemoveDowntimeResponseSchema,
  SetAgentsBusyResponseSchema,
  SetAgentsEnabledResponseSchema,
  type Downtime,
} from '@drover/control-api';
import type { Command } from 'commander';
import {
  durationOption,
  countOption,
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { addAgentHealthCommands } from './agent-health-commands.ts';
import { addAgentTaskCommands } from './agent-task-commands.ts';
import { addConformCommand } from './workspace-commands.ts';
import { addUpgradeCommands } from './upgrade-commands.ts';
import { agentColumns, agentLines, agentStateWords, timeSpanText } from '../output/agent-view.ts';
import { jsonText } from '../output/job-json.ts';
import { tableText } from '../output/print-table.ts';
import { span, timeText } from '../output/words.ts';

interface AgentOptions extends ServerOptions {
  readonly json?: boolean;
  readonly comment: string;
}

const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

/** `drover agents …`: the agents of a fleet, and what operators say about them. */
export function addAgentCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);
  const agents = withJson(withServer(program.command('agents'), context.env)).enablePositionalOptions();
  const inner = (name: string): Command => withJson(withServer(agents.command(name), context.env));
  const commented = (command: Command): Command => command.option('--comment <text>', 'why, for others to read', '');

  agents
    .description('the agents of the fleet')
    .option('-n, --limit <count>', 'how many', countOption('--limit', 1, 1_000), 200)
    .option('--pool <name>', 'only those in this pool', '')
    .option('--state <state>', `only those in this state: ${Object.keys(agentStateWords).join(', ')}`, stateOption)
    .action(async (options: ServerOptions & { json?: boolean; limit: number; pool: string; state?: AgentState }) => {
      await usingServer(options, context, async (client) => {
        const states = options.state === undefined ? [] : [options.state];
        const answer = await client.fleet.listAgents({ pageSize: options.limit, pool: options.pool, states }, call());
        if (options.json === true) return out(jsonText(ListAgentsResponseSchema, answer));
        out(tableText(agentColumns, answer.agents, 'no agents'));
        if (answer.nextPageToken !== '')
          out(`there are more than these ${answer.agents.length}: see --limit, --pool, --state`);
      });
    });

  inner('show <id>')
    .description('all that is known of an agent')
    .action(async (agentId: string, options: AgentOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.agents.getAgent({ agentId }, call());
        out(options.json === true ? jsonText(GetAgentResponseSchema, answer) : agentLines(answer.agent!).join('\n'));
      });
    });

  for (const enabled of [true, false]) {
    commented(inner(`${enabled ? 'enable' : 'disable'} <id...>`))
      .description(enabled ? 'let agents work' : 'give agents no more leases; what runs goes on')
      .action(async (agentIds: string[], options: AgentOptions) => {
        await usingServer(options, context, async (client) => {
          const answer = await client.agents.setAgentsEnabled({ agentIds, enabled, comment: options.comment }, call());
          if (options.json === true) return out(jsonText(SetAgentsEnabledResponseSchema, answer));
          out(`${enabled ? 'enabled' : 'disabled'} ${agentIds.join(', ')}`);
        });
      });
  }

  commented(inner('busy <id...>'))
    .description('the machines are needed for something else: no new leases, and what runs is stopped')
    .option('--for <duration>', 'how long, e.g. 2h; at most 31d', durationOption('--for', 1))
    .option('--off', 'they are not needed any more')
    .action(async (agentIds: string[], options: AgentOptions & { for?: number; off?: boolean }) => {
      if ((options.for === undefined) === (options.off !== true)) throw new UsageError('give either --for or --off');
      await usingServer(options, context, async (client) => {
        const busyFor = options.for === undefined ? {} : { busyFor: durationFromMs(options.for) };
        const answer = await client.agents.setAgentsBusy({ agentIds, ...busyFor, comment: options.comment }, call());
        if (options.json === true) return out(jsonText(SetAgentsBusyResponseSchema, answer));
        const how = options.for === undefined ? 'no longer busy' : `busy for ${span(options.for)}`;
        out(`${how}: ${agentIds.join(', ')}`);
      });
    });

  withJson(withServer(agents.command('remove <id>'), context.env))
    .description('forget an agent that is offline')
    .action(async (agentId: string, options: AgentOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.agents.removeAgent({ agentId }, call());
        out(options.json === true ? jsonText(RemoveAgentResponseSchema, answer) : `forgot ${agentId}`);
      });
    });

  addDowntimeCommands(agents, context, commented);
  addAgentHealthCommands(agents, context);
  addAgentTaskCommands(agents, context);
  addConformCommand(agents, context);
  addUpgradeCommands(agents, context);
}

interface DowntimeOptions extends AgentOptions {
  readonly agent: readonly string[];
  readonly pool: readonly string[];
  readonly all?: boolean;
  readonly start?: number;
  readonly daily?: string;
  readonly weekly?: string;
  readonly on?: readonly number[];
  readonly zone: string;
  readonly for: number;
}

function addDowntimeCommands(agents: Command, context: CommandContext, commented: (command: Command) => Command): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const downtime = agents.command('downtime').description('times in which agents get no work: once, daily or weekly');
  const run = async (options: AgentOptions, work: (client: FleetClient) => Promise<void>): Promise<void> =>
    usingServer(options, context, work);

  commented(withJson(withServer(downtime.command('add'), context.env)))
    .description('add a downtime; what runs when it begins goes on')
    .option('--agent <id...>', 'of these agents', [])
    .option('--pool <name...>', 'of the agents in these pools', [])
    .option('--all', 'of the whole fleet')
    .option('--start <time>', 'once, e.g. 2027-01-31T22:00 (in the zone of this machine) or …T22:00+01:00', startOption)
    .option('--daily <HH:MM>', 'every day at this time')
    .option('--weekly <HH:MM>', 'at this time on the days of --on')
    .option('--on <days>', 'days of --weekly, e.g. sat,sun', daysOption)
    .option('--zone <name>', 'time zone of --daily and --weekly', Intl.DateTimeFormat().resolvedOptions().timeZone)
    .requiredOption('--for <duration>', 'how long, e.g. 4h', durationOption('--for', 1))
    .action(async (options: DowntimeOptions) => {
      const asked = downtimeOf(options);
      await run(options, async (client) => {
        const answer = await client.agents.addDowntime({ downtime: asked }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(AddDowntimeResponseSchema, answer));
        const { downtimeId, next } = answer.downtime!;
        out(`downtime ${shortDowntimeId(downtimeId)} added`);
        for (const { startAt, endAt } of next) out(`  ${timeSpanText(startAt!, endAt!)}`);
      });
    });

  withJson(withServer(downtime.command('list'), context.env))
    .description('the downtimes of the fleet')
    .action(async (options: AgentOptions) => {
      await run(options, async (client) => {
        const answer = await client.agents.listDowntimes({ pageSize: 1_000 }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(ListDowntimesResponseSchema, answer));
        out(tableText(downtimeColumns, answer.downtimes, 'no downtimes'));
      });
    });

  withJson(withServer(downtime.command('remove <id>'), context.env))
    .description('remove a downtime; one under way ends')
    .action(async (downtimeId: string, options: AgentOptions) => {
      await run(options, async (client) => {
        const answer = await client.agents.removeDowntime({ downtimeId }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(RemoveDowntimeResponseSchema, answer));
        out(`downtime ${shortDowntimeId(answer.downtime!.downtimeId)} removed`);
      });
    });
}

function downtimeOf(options: DowntimeOptions) {
  const { agent: agentIds, pool: pools, all, start, daily, weekly, on, zone: timeZone, comment } = options;
  if ([start, daily, weekly].filter((given) => given !== undefined).length !== 1) {
    throw new UsageError('give exactly one of --start, --daily and --weekly');
  }
  if ((weekly === undefined) !== (on === undefined)) throw new UsageError('--weekly and --on belong together');
  const isWhole = agentIds.length === 0 && pools.length === 0;
  if (isWhole !== (all === true)) throw new UsageError('give --agent or --pool, or --all for the whole fleet');
  const schedule =
    start === undefined
      ? { timeOfDay: daily ?? weekly ?? '', timeZone, days: [...(on ?? [])] }
      : { startAt: timestampFromMs(start) };
  return { agentIds: [...agentIds], pools: [...pools], ...schedule, duration: durationFromMs(options.for), comment };
}

/** Ids of one moment begin alike: their last characters tell them apart, their first ones are what people type. */
function shortDowntimeId(downtimeId: string): string {
  return downtimeId.slice(0, 18);
}

function stateOption(text: string): AgentState {
  const state = agentStateWords[text.toLowerCase()];
  if (state !== undefined) return state;
  throw new UsageError(`--state is ${JSON.stringify(text)}; allowed are ${Object.keys(agentStateWords).join(', ')}`);
}

function startOption(text: string): number {
  const ms = Date.parse(text);
  if (Number.isFinite(ms) && /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}/.test(text)) return ms;
  throw new UsageError(`--start is ${JSON.stringify(text)}; allowed is a time such as 2027-01-31T22:00 or …T22:00Z`);
}

function daysOption(text: string): number[] {
  return text.split(',').map((word) => {
    const day = weekdays.indexOf(word.trim().toLowerCase().slice(0, 3)) + 1;
    if (day > 0) return day;
    throw new UsageError(`--on is ${JSON.stringify(text)}; allowed are ${weekdays.join(', ')}, with commas between`);
  });
}

const downtimeColumns = [
  { head: 'DOWNTIME', cell: (one: Downtime) => shortDowntimeId(one.downtimeId) },
  { head: 'WHEN', cell: whenText },
  { head: 'FOR', cell: ({ duration: lasts }: Downtime) => span(Number(lasts?.seconds ?? 0n) * 1_000) },
  { head: 'WHOSE', cell: whoseText },
  {
    head: 'NEXT',
    cell: ({ next: [first] }: Downtime) => (first ? timeSpanText(first.startAt!, first.endAt!) : 'over'),
  },
  { head: 'BY', cell: (one: Downtime) => one.by },
  { head: 'COMMENT', cell: (one: Downtime) => one.comment },
];

function whenText({ startAt, timeOfDay, timeZone, days }: Downtime): string {
  if (startAt !== undefined) return `once, ${timeText(startAt)}`;
  const on = days.length === 0 ? 'daily' : days.map((day) => weekdays[day - 1]).join(', ');
  return `${on} at ${timeOfDay} ${timeZone}`;
}

function whoseText({ agentIds, pools }: Downtime): string {
  const named = [...pools.map((name) => `pool ${name}`), ...agentIds];
  if (named.length === 0) return 'the whole fleet';
  return named.length > 4 ? `${named.slice(0, 3).join(', ')} and ${named.length - 3} more` : named.join(', ');
}
