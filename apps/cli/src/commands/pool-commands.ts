import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  CreatePoolResponseSchema,
  DeletePoolResponseSchema,
  GetPoolResponseSchema,
  GetScaleHintsResponseSchema,
  ListPoolsResponseSchema,
  UpdatePoolResponseSchema,
  type Pool,
  type PoolWarning,
  type ScaleHint,
  type ScaleSize,
} from '@drover/control-api';
import type { Command } from 'commander';
import {
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, bytesText, span } from '../output/words.ts';

interface PoolOptions extends ServerOptions {
  readonly json?: boolean;
}

interface DefinitionOptions extends PoolOptions {
  readonly agent: readonly string[];
  readonly condition: string;
  readonly comment: string;
  readonly weight: Readonly<Record<string, number>>;
}

/** `drover pools …`: the pools of a fleet, and what an autoscaler asks of them. */
export function addPoolCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);
  const warn = (warnings: readonly PoolWarning[]): void => {
    for (const { code, message } of warnings)
      context.stderr.write(`drover: warning: ${printable(message)} (${code})\n`);
  };
  const pools = program.command('pools').description('pools of agents: listed, or all that satisfy a condition');
  const inner = (name: string): Command => withJson(withServer(pools.command(name), context.env));
  const defined = (command: Command): Command =>
    command
      .option('--agent <id...>', 'agents that belong to it whatever they report', [])
      .option('--condition <text>', "agents whose properties satisfy it, e.g. 'os == linux && ram >= 8gb'", '')
      .option(
        '--weight <principal=number>',
        'share of a submitter of the pool, compared with others, e.g. user:ann=3 (others have 1); repeatable',
        addWeight,
        {},
      )
      .option('--comment <text>', 'what it is for', '');

  inner('list')
    .description('the pools that are defined')
    .action(async (options: PoolOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.listPools({ pageSize: 500 }, call());
        out(
          options.json === true
            ? jsonText(ListPoolsResponseSchema, answer)
            : tableText(poolColumns, answer.pools, 'no pools'),
        );
      });
    });

  inner('show <name>')
    .description('a pool, its agents now, and what waits for it')
    .action(async (name: string, options: PoolOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.getPool({ name }, call());
        if (options.json === true) return out(jsonText(GetPoolResponseSchema, answer));
        const { pool, agents, agentIds, leasesWaiting, longestWait } = answer;
        const { name: shown, condition, comment, weights, changedBy, changedAt, agentIds: listed } = pool!;
        const wait = longestWait === undefined ? '' : `, the oldest for ${span(durationMs(longestWait))}`;
        const more = agents > agentIds.length ? ` and ${agents - agentIds.length} more` : '';
        const lines = [
          `pool        ${shown}`,
          ...(comment === '' ? [] : [`comment     ${comment}`]),
          ...(condition === '' ? [] : [`condition   ${condition}`]),
          ...(listed.length === 0 ? [] : [`lists       ${listed.join(', ')}`]),
          ...(Object.keys(weights).length === 0 ? [] : [`weights     ${weightsText(weights)}`]),
          `changed     by ${changedBy}, ${ago(changedAt)} ago`,
          `agents now  ${agents === 0 ? 'none' : `${agents}: ${agentIds.join(', ')}${more}`}`,
          `waiting     ${leasesWaiting === 0 ? 'nothing' : `${leasesText(leasesWaiting)}${wait}`}`,
        ];
        out(lines.map((line) => printable(line)).join('\n'));
      });
    });

  defined(inner('create <name>'))
    .description('define a pool')
    .action(async (name: string, options: DefinitionOptions) => {
      const pool = poolOf(name, options);
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.createPool({ pool }, call());
        warn(answer.warnings);
        out(options.json === true ? jsonText(CreatePoolResponseSchema, answer) : `pool ${name} created`);
      });
    });

  defined(inner('set <name>'))
    .description('replace the definition of a pool')
    .action(async (name: string, options: DefinitionOptions) => {
      const pool = poolOf(name, options);
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.updatePool({ pool }, call());
        warn(answer.warnings);
        out(options.json === true ? jsonText(UpdatePoolResponseSchema, answer) : `pool ${name} changed`);
      });
    });

  inner('delete <name>')
    .description('delete a pool')
    .option('--force', 'although leases wait for it')
    .action(async (name: string, options: PoolOptions & { readonly force?: boolean }) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.deletePool({ name, force: options.force === true }, call());
        if (options.json === true) return out(jsonText(DeletePoolResponseSchema, answer));
        const waiting = answer.leasesWaiting;
        out(`pool ${name} deleted${waiting === 0 ? '' : `; waiting for it: ${leasesText(waiting)}`}`);
      });
    });

  inner('hints [name]')
    .description('what waits, by pool, and how many agents of each size would take it at once')
    .action(async (name: string | undefined, options: PoolOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.pools.getScaleHints({ pool: name ?? '' }, call());
        if (options.json === true) return out(jsonText(GetScaleHintsResponseSchema, answer));
        out(tableText(hintColumns, answer.hints.flatMap(hintRows), 'no pools'));
      });
    });
}

function poolOf(name: string, { agent, condition, comment, weight }: DefinitionOptions) {
  if (agent.length === 0 && condition.trim() === '') {
    throw new UsageError('give --agent, --condition or both: a pool without them names nobody');
  }
  return { name, agentIds: [...agent], condition, comment, weights: { ...weight } };
}

function addWeight(text: string, before: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  // The last = divides them, since names of users may hold one.
  const [, principal, digits] = /^(.+)=(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  if (principal === undefined || digits === undefined) {
    throw new UsageError(`--weight ${text}: it is written PRINCIPAL=NUMBER, e.g. user:ann=3`);
  }
  if (Object.hasOwn(before, principal)) throw new UsageError(`--weight: ${principal} is given twice`);
  return { ...before, [principal]: Number(digits) };
}

function weightsText(weights: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(weights).sort(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([principal, weight]) => `${principal}=${weight}`).join(', ');
}

function leasesText(count: number): string {
  return count === 1 ? '1 lease' : `${count} leases`;
}

const poolColumns = [
  { head: 'POOL', cell: (pool: Pool) => pool.name },
  { head: 'CONDITION', cell: (pool: Pool) => pool.condition },
  { head: 'LISTED', cell: (pool: Pool) => (pool.agentIds.length === 0 ? '' : String(pool.agentIds.length)) },
  { head: 'CHANGED', cell: (pool: Pool) => `${ago(pool.changedAt)} ago by ${pool.changedBy}` },
  { head: 'COMMENT', cell: (pool: Pool) => pool.comment },
];

interface HintRow {
  readonly hint: ScaleHint;
  readonly size: ScaleSize | undefined;
  readonly isFirst: boolean;
}

/** A row for each size; what is said of the pool stands in the first. */
function hintRows(hint: ScaleHint): HintRow[] {
  if (hint.sizes.length === 0) return [{ hint, size: undefined, isFirst: true }];
  return hint.sizes.map((size, index) => ({ hint, size, isFirst: index === 0 }));
}

const ofPool = (cell: (hint: ScaleHint) => string) => (row: HintRow) => (row.isFirst ? cell(row.hint) : '');
const ofSize = (cell: (size: ScaleSize) => string) => (row: HintRow) => (row.size === undefined ? '-' : cell(row.size));

const hintColumns = [
  { head: 'POOL', cell: ofPool(({ pool }) => (pool === '' ? '(no pool)' : pool)) },
  { head: 'WAITING', cell: ofPool(({ leasesWaiting }) => String(leasesWaiting)) },
  { head: 'LONGEST', cell: ofPool(({ longestWait }) => (longestWait ? span(durationMs(longestWait)) : '-')) },
  { head: 'NOBODY', cell: ofPool(({ leasesNobodyCanTake }) => String(leasesNobodyCanTake)) },
  { head: 'WORKING', cell: ofPool(({ agentsWorking }) => String(agentsWorking)) },
  { head: 'IDLE', cell: ofPool(({ agentsIdle }) => String(agentsIdle)) },
  { head: 'SIZE', cell: ofSize(sizeText) },
  { head: 'AGENTS', cell: ofSize(({ agents }) => String(agents)) },
  { head: 'FITTING', cell: ofSize(({ leasesFitting }) => String(leasesFitting)) },
  { head: 'NEEDED', cell: ofSize(({ agentsNeeded }) => String(agentsNeeded)) },
];

function sizeText({ resources, leasesMax }: ScaleSize): string {
  const counts = Object.entries(resources).map(
    ([name, count]) => `${name} ${name === 'ram' ? bytesText(Number(count)) : String(count)}`,
  );
  return [...counts, `${leasesMax} at once`].join(', ');
}
