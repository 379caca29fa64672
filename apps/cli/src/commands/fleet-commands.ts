import type { Command } from 'commander';
import {
  ExplainJobResponseSchema,
  ListAgentsResponseSchema,
  ListLeasesResponseSchema,
  type AgentStatus,
  type LeaseStatus,
} from '@drover/control-api';
import { styleText } from 'node:util';
import { addAgentTaskCommands } from './agent-task-commands.ts';
import {
  countOption,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { addUpgradeCommands } from './upgrade-commands.ts';
import { ago, bytesText, conditionWord, leaseStateWord, shortId } from '../output/words.ts';

/** Stands for all agents together in an explanation. */
const wholeFleet = '*';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
  readonly limit: number;
}

/** `drover agents`, `drover leases`, `drover why`. */
export function addFleetCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const limited = (command: Command): Command =>
    withJson(withServer(command, context.env)).option(
      '-n, --limit <count>',
      'how many',
      countOption('--limit', 1, 1_000),
      200,
    );

  const agents = limited(program.command('agents'))
    .description('the agents of the fleet')
    .action(async (options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.fleet.listAgents({ pageSize: options.limit }, callOptions(context.signal));
        out(
          options.json === true
            ? jsonText(ListAgentsResponseSchema, answer)
            : tableText(agentColumns, answer.agents, 'no agents'),
        );
      });
    });
  addAgentTaskCommands(agents, context);

  addUpgradeCommands(agents, context);

  limited(program.command('leases'))
    .description('the leases that wait or run, in the order in which they are assigned')
    .option('--agent <id>', 'only those of one agent', '')
    .action(async (options: ListOptions & { readonly agent: string }) => {
      await usingServer(options, context, async (client) => {
        const request = { pageSize: options.limit, agentId: options.agent };
        const answer = await client.fleet.listLeases(request, callOptions(context.signal));
        out(
          options.json === true
            ? jsonText(ListLeasesResponseSchema, answer)
            : tableText(leaseColumns, answer.leases, 'no leases wait or run'),
        );
      });
    });

  withJson(withServer(program.command('why').argument('<job>', 'an id, or the first letters of one'), context.env))
    .description('for each agent, the first reason why it does not take a waiting job')
    .action(async (jobId: string, options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.fleet.explainJob({ jobId }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(ExplainJobResponseSchema, answer));
        if (answer.leases.length === 0) out('no lease of the job waits');
        for (const lease of answer.leases) {
          out(`${styleText('bold', printable(lease.name))}  ${leaseStateWord(lease.state)}`);
          if (lease.agents.length === 0) out('  there is no agent in the fleet');
          const width = Math.max(...lease.agents.map(({ agentId }) => agentId.length));
          for (const { agentId, fits, message, code } of lease.agents) {
            const text = fits ? 'fits: takes it when it is asked next' : `${printable(message)} (${code})`;
            out(agentId === wholeFleet ? `  ${text}` : `  ${printable(agentId).padEnd(width)}  ${text}`);
          }
        }
      });
    });
}

/** `unhealthy: DISK_SPACE_LOW`, where the agent gives a reason. */
function stateText(agent: AgentStatus): string {
  if (!agent.online) return 'offline';
  const word = conditionWord(agent.condition);
  return agent.conditionReason === undefined ? word : `${word}: ${printable(agent.conditionReason.code)}`;
}

function resourcesText(agent: AgentStatus): string {
  return Object.entries(agent.description?.resources ?? {})
    .map(([name, total]) => {
      const used = Number(agent.resourcesUsed[name] ?? 0n);
      const text = (amount: number): string => (name === 'ram' ? bytesText(amount) : String(amount));
      return `${name} ${text(used)}/${text(Number(total))}`;
    })
    .join(', ');
}

const agentColumns = [
  { head: 'AGENT', cell: (agent: AgentStatus) => agent.agentId },
  { head: 'STATE', cell: (agent: AgentStatus) => stateText(agent) },
  { head: 'LEASES', cell: (agent: AgentStatus) => String(agent.leases) },
  { head: 'RESOURCES', cell: resourcesText },
  { head: 'POOLS', cell: (agent: AgentStatus) => (agent.description?.pools ?? []).join(', ') },
  { head: 'VERSION', cell: (agent: AgentStatus) => agent.description?.version ?? '' },
  { head: 'SESSION', cell: (agent: AgentStatus) => (agent.online ? ago(agent.sessionOpenedAt) : '-') },
];

const leaseColumns = [
  { head: 'LEASE', cell: (lease: LeaseStatus) => shortId(lease.leaseId) },
  { head: 'JOB', cell: (lease: LeaseStatus) => shortId(lease.jobId) },
  { head: 'NAME', cell: (lease: LeaseStatus) => lease.name },
  { head: 'STATE', cell: (lease: LeaseStatus) => leaseStateWord(lease.state) },
  { head: 'AGENT', cell: (lease: LeaseStatus) => lease.attempts.at(-1)?.agentId ?? '-' },
  { head: 'PROGRESS', cell: (lease: LeaseStatus) => `${lease.percent} %` },
  { head: 'REQUIRES', cell: (lease: LeaseStatus) => lease.requirements },
  { head: 'AGE', cell: (lease: LeaseStatus) => ago(lease.createdAt) },
];
