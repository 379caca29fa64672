import type { Command } from 'commander';
import { ExplainJobResponseSchema, ListLeasesResponseSchema, type LeaseStatus } from '@drover/control-api';
import { styleText } from 'node:util';
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
import { ago, leaseStateWord, shortId } from '../output/words.ts';

/** Stands for all agents together in an explanation. */
const wholeFleet = '*';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
  readonly limit: number;
}

/** `drover leases`, `drover why`. */
export function addFleetCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const limited = (command: Command): Command =>
    withJson(withServer(command, context.env)).option(
      '-n, --limit <count>',
      'how many',
      countOption('--limit', 1, 1_000),
      200,
    );

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
