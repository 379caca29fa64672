import type { Command } from 'commander';
import {
  AgentHealthState,
  ClearAgentHealthResponseSchema,
  GetAgentHealthResponseSchema,
  ListAgentHealthResponseSchema,
  type AgentHealth,
  type HealthEvidence,
} from '@drover/control-api';
import { usingServer, withJson, withServer, type CommandContext, type ServerOptions } from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { healthWord } from '../output/agent-view.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, shortId, timeText } from '../output/words.ts';

interface HealthOptions extends ServerOptions {
  readonly json?: boolean;
  readonly comment: string;
}

/** `drover agents health`, `drover agents clear`: below the command `agents`. */
export function addAgentHealthCommands(agents: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);

  withJson(withServer(agents.command('health [id]'), context.env))
    .description('agents that fail what succeeds elsewhere; with an id, what speaks against that agent')
    .action(async (agentId: string | undefined, options: HealthOptions) => {
      await usingServer(options, context, async (client) => {
        if (agentId === undefined) {
          const answer = await client.health.listAgentHealth({ pageSize: 1_000 }, call());
          if (options.json === true) return out(jsonText(ListAgentHealthResponseSchema, answer));
          out(tableText(healthColumns, answer.agents, 'all agents are healthy'));
          if (answer.nextPageToken !== '') out(`there are more than these ${answer.agents.length}`);
          return;
        }
        const answer = await client.health.getAgentHealth({ agentId }, call());
        const health = answer.health!;
        if (options.json === true) return out(jsonText(GetAgentHealthResponseSchema, answer));
        if (health.state === AgentHealthState.HEALTHY) return out(`${printable(agentId)} is healthy`);
        out(
          `${printable(agentId)} is ${workText(health)} since ${timeText(health.since!)}: ${printable(health.reason)}`,
        );
        if (nextText(health) !== '') out(`next canary: ${nextText(health)}`);
        if (health.evidence.length > 0) out(tableText(evidenceColumns, health.evidence, ''));
      });
    });

  withJson(withServer(agents.command('clear <id...>'), context.env))
    .description('let agents work although they failed what succeeds elsewhere; what happened before no longer counts')
    .option('--comment <text>', 'why, for others to read', '')
    .action(async (agentIds: string[], options: HealthOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.health.clearAgentHealth({ agentIds, comment: options.comment }, call());
        if (options.json === true) return out(jsonText(ClearAgentHealthResponseSchema, answer));
        out(`cleared ${agentIds.join(', ')}`);
      });
    });
}

function workText({ state, withheld }: AgentHealth): string {
  return state === AgentHealthState.SUSPECTED && !withheld
    ? 'suspected, at work: its pool’s cap is reached'
    : healthWord(state);
}

function nextText({ canaryDue, canaryUnderWay }: AgentHealth): string {
  if (canaryUnderWay) return 'under way';
  return canaryDue === undefined ? '' : timeText(canaryDue);
}

const healthColumns = [
  { head: 'AGENT', cell: ({ agentId }: AgentHealth) => agentId },
  { head: 'HEALTH', cell: workText },
  { head: 'SINCE', cell: ({ since }: AgentHealth) => ago(since) },
  { head: 'CANARY', cell: nextText },
  { head: 'WHY', cell: ({ reason }: AgentHealth) => reason },
];

const evidenceColumns = [
  { head: 'LEASE', cell: ({ leaseId, attempt }: HealthEvidence) => `${shortId(leaseId)} #${attempt}` },
  { head: 'NAME', cell: ({ name }: HealthEvidence) => name },
  {
    head: 'END',
    cell: ({ outcome, code }: HealthEvidence) => (code === '' ? endWord(outcome) : `${outcome}: ${code}`),
  },
  { head: 'AGO', cell: ({ at }: HealthEvidence) => ago(at) },
  { head: 'SUCCEEDED ON', cell: ({ succeededOn }: HealthEvidence) => succeededOn || 'others of its kind, elsewhere' },
];

function endWord(outcome: string): string {
  return outcome === 'completed' ? 'its work failed' : outcome;
}
