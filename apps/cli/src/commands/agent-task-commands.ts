import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, timestampMs, type Any } from '@bufbuild/protobuf/wkt';
import { exitCodes } from '@drover/app-config';
import {
  AgentTaskState,
  AgentTaskWishResult,
  AgentTaskWithdrawal,
  ListAgentTasksResponseSchema,
  RequestAgentTasksResponseSchema,
  WithdrawAgentTasksResponseSchema,
  type AgentTask,
  type RequestAgentTasksResponse,
} from '@drover/control-api';
import { delay, systemClock } from '@drover/lease-kit';
import { Outcome } from '@drover/lease-protocol';
import { RestartSchema } from '@drover/lease-type-restart';
import { ShutdownSchema } from '@drover/lease-type-shutdown';
import type { Command } from 'commander';
import {
  countOption,
  durationOption,
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { conformLines } from '../output/conform-report.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, outcomeWord, shortId, span } from '../output/words.ts';

interface TaskOptions extends ServerOptions {
  readonly json?: boolean;
  readonly pool: string;
  readonly forced?: boolean;
  readonly reason: string;
  readonly atMost: number;
  readonly within?: number;
  readonly backWithin?: number;
  readonly goneAfter?: number;
  readonly wait?: boolean;
  readonly withdraw?: boolean;
}

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
  readonly limit: number;
  readonly agent: string;
  readonly source: string;
  readonly all?: boolean;
  readonly reports?: boolean;
}

const lookMs = 500;
/** A server answers with no more reports at once. */
const reportsMax = 200;

/** `drover agents restart`, `drover agents shutdown`, `drover agents tasks`: below the command `agents`. */
export function addAgentTaskCommands(agents: Command, context: CommandContext): void {
  // What stands behind `restart` belongs to it, though `agents` has options of the same names.
  agents.enablePositionalOptions();
  powerCommand(agents, context, 'restart')
    .description('restart the machines of agents: each is drained first, or forced')
    .option(
      '--back-within <duration>',
      'how long a machine may be away, e.g. 10min',
      durationOption('--back-within', 1_000),
    )
    .action(async (ids: string[], options: TaskOptions) => {
      const { reason, backWithin } = options;
      const payload = packed(RestartSchema, {
        reason,
        ...(backWithin === undefined ? {} : { backWithin: durationFromMs(backWithin) }),
      });
      await wantOrWithdraw('restart', ids, payload, options, context);
    });
  powerCommand(agents, context, 'shutdown')
    .description('switch the machines of agents off: each is drained first, or forced')
    .option(
      '--gone-after <duration>',
      'how long it must be away to count as off',
      durationOption('--gone-after', 1_000),
    )
    .action(async (ids: string[], options: TaskOptions) => {
      const { reason, goneAfter } = options;
      const payload = packed(ShutdownSchema, {
        reason,
        ...(goneAfter === undefined ? {} : { goneAfter: durationFromMs(goneAfter) }),
      });
      await wantOrWithdraw('shutdown', ids, payload, options, context);
    });
  withJson(withServer(agents.command('tasks'), context.env))
    .description('what is wanted of agents, and with --all how it ended')
    .option('--agent <id>', 'only of one agent', '')
    .option('--source <name>', 'only of one kind, e.g. restart', '')
    .option('--all', 'also what has ended')
    .option('--reports', 'with what the last lease of each did, e.g. what changed in each workspace; at most 200')
    .option('-n, --limit <count>', 'how many', countOption('--limit', 1, 1_000), 200)
    .action(async (options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const { limit, agent, source, all = false, reports = false } = options;
        const answer = await client.agentTasks.listAgentTasks(
          {
            pageSize: reports ? Math.min(limit, reportsMax) : limit,
            agentId: agent,
            source,
            onlyLive: !all,
            withOutputs: reports,
          },
          callOptions(context.signal),
        );
        if (options.json === true) return print(context, jsonText(ListAgentTasksResponseSchema, answer));
        print(context, tableText(taskColumns, answer.tasks, 'nothing is wanted of agents'));
        for (const { agentId, last } of answer.tasks) {
          const lines = conformLines(last?.output);
          if (lines.length > 0) print(context, [`\n${printable(agentId)}`, ...lines.map(indented)].join('\n'));
        }
      });
    });
}

function powerCommand(agents: Command, context: CommandContext, name: string): Command {
  return withJson(withServer(agents.command(name).argument('[agents...]', 'ids of agents'), context.env))
    .option('--pool <name>', 'all agents of a pool instead', '')
    .option('--forced', 'at once: what runs there ends as lost, and is tried again as its job says')
    .option('--reason <text>', 'why, for people', '')
    .option('--at-most <count>', 'so many at once', countOption('--at-most', 1, 1_000_000), 0)
    .option(
      '--within <duration>',
      'how long it is wanted of an agent that is away; 24h if not said',
      durationOption('--within', 1_000),
    )
    .option('--wait', 'until it is done everywhere; the exit code says whether it was')
    .option('--withdraw', 'want it no more; what is under way is cancelled');
}

async function wantOrWithdraw(
  source: string,
  ids: readonly string[],
  payload: Any,
  options: TaskOptions,
  context: CommandContext,
): Promise<void> {
  if ((ids.length === 0) === (options.pool === '')) {
    throw new UsageError(`drover agents ${source}: name agents by id, or a pool with --pool; one of both`);
  }
  await usingServer(options, context, async (client) => {
    const agents = { agentIds: [...ids], pool: options.pool };
    if (options.withdraw === true) return withdraw(client, source, agents, options, context);
    const request = {
      source,
      agents,
      payload,
      forced: options.forced === true,
      atOnceMax: options.atMost,
      ...(options.within === undefined ? {} : { expiresAfter: durationFromMs(options.within) }),
    };
    const answer = await client.agentTasks.requestAgentTasks(request, callOptions(context.signal));
    await tellOfWishes(client, source, answer, options, context);
  });
}

/** How the answer to wishes is told. */
export interface WishOptions {
  readonly json?: boolean;
  /** Until each is done or has failed; the exit code says which. */
  readonly wait?: boolean;
}

/** Prints what became of wishes, or waits for what comes of them. */
export async function tellOfWishes(
  client: FleetClient,
  source: string,
  answer: Pick<RequestAgentTasksResponse, 'wishes'>,
  options: WishOptions,
  context: CommandContext,
): Promise<void> {
  if (options.wait !== true) {
    const lines = answer.wishes.map(({ agentId, result }) => `${printable(agentId)}  ${wishWords[result] ?? ''}`);
    const response = create(RequestAgentTasksResponseSchema, { wishes: answer.wishes });
    return print(
      context,
      options.json === true ? jsonText(RequestAgentTasksResponseSchema, response) : lines.join('\n'),
    );
  }
  const ended = await waitForEnds(client, source, answer, options, context);
  if (options.json === true) {
    print(context, jsonText(ListAgentTasksResponseSchema, create(ListAgentTasksResponseSchema, { tasks: ended })));
  }
  if (!ended.every(wasDone)) context.exit(exitCodes.jobFailed);
}

/** Withdraws what is wanted of agents, and prints what became of that. */
export async function withdraw(
  client: FleetClient,
  source: string,
  agents: { readonly agentIds: string[]; readonly pool: string },
  options: { readonly json?: boolean; readonly reason: string },
  context: CommandContext,
): Promise<void> {
  const request = { source, agents, reason: options.reason };
  const answer = await client.agentTasks.withdrawAgentTasks(request, callOptions(context.signal));
  const lines = answer.withdrawals.map(
    ({ agentId, result }) => `${printable(agentId)}  ${withdrawalWords[result] ?? ''}`,
  );
  print(context, options.json === true ? jsonText(WithdrawAgentTasksResponseSchema, answer) : lines.join('\n'));
}

/** Looks until what was wanted of these agents has ended, or failed and is to be tried again; tells of each once. */
async function waitForEnds(
  client: FleetClient,
  source: string,
  { wishes }: Pick<RequestAgentTasksResponse, 'wishes'>,
  options: WishOptions,
  context: CommandContext,
): Promise<AgentTask[]> {
  const agentIds = new Set(wishes.map(({ agentId }) => agentId));
  // What was wanted already may have failed before: that end is not the one to wait for.
  const unchanged = new Set(wishes.filter(isUnchanged).map(({ agentId }) => agentId));
  const endsBefore = new Map<string, number>();
  const ended = new Map<string, AgentTask>();
  while (!context.signal.aborted) {
    for await (const task of allTasks(client, source, context.signal)) {
      const { agentId, last, requestedAt } = task;
      if (!agentIds.has(agentId) || ended.has(agentId)) continue;
      const endMs = timeOf(last?.endedAt);
      if (unchanged.has(agentId) && !endsBefore.has(agentId)) endsBefore.set(agentId, endMs);
      const sinceMs = Math.max(timeOf(requestedAt), (endsBefore.get(agentId) ?? -1) + 1);
      const hasFailed = last !== undefined && !last.succeeded && task.failures > 0 && endMs >= sinceMs;
      if (!isOver(task.state) && !hasFailed) continue;
      const reported = await withReport(client, task, context.signal);
      ended.set(agentId, reported);
      if (options.json === true) continue;
      const report = conformLines(reported.last?.output).map(indented);
      print(context, [`${printable(agentId)}  ${endText(task)}`, ...report].join('\n'));
    }
    if (ended.size === agentIds.size) break;
    await delay(systemClock, lookMs, context.signal);
  }
  context.signal.throwIfAborted();
  return [...ended.values()];
}

/** The task with what the lease that ended last made; as it was if it has gone on since. */
async function withReport(client: FleetClient, task: AgentTask, signal: AbortSignal): Promise<AgentTask> {
  const { source, agentId, last } = task;
  if (last === undefined || last.leaseId === '') return task;
  const { tasks } = await client.agentTasks.listAgentTasks(
    { source, agentId, pageSize: 1, withOutputs: true },
    callOptions(signal),
  );
  return tasks[0]?.last?.leaseId === last.leaseId ? { ...task, last: tasks[0].last } : task;
}

const indented = (line: string): string => `  ${line}`;

const isUnchanged = ({ result }: { readonly result: AgentTaskWishResult }): boolean =>
  result === AgentTaskWishResult.UNCHANGED;

/** The agents of which something of a source is wanted or done. */
export async function agentsWanted(client: FleetClient, source: string, signal: AbortSignal): Promise<string[]> {
  const agentIds: string[] = [];
  for await (const task of allTasks(client, source, signal)) if (!isOver(task.state)) agentIds.push(task.agentId);
  return agentIds;
}

async function* allTasks(client: FleetClient, source: string, signal: AbortSignal): AsyncGenerator<AgentTask> {
  let pageToken = '';
  do {
    const page = await client.agentTasks.listAgentTasks({ source, pageSize: 1_000, pageToken }, callOptions(signal));
    yield* page.tasks;
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
}

const isOver = (state: AgentTaskState): boolean => state === AgentTaskState.ENDED || state === AgentTaskState.EXPIRED;

/** True if it ended well since it was wanted: one that was withdrawn or expired shows an older end, or none. */
function wasDone({ state, last, requestedAt }: AgentTask): boolean {
  if (state !== AgentTaskState.ENDED || last?.endedAt === undefined || requestedAt === undefined) return false;
  return last.succeeded && timestampMs(last.endedAt) >= timestampMs(requestedAt);
}

function endText(task: AgentTask): string {
  if (task.state === AgentTaskState.EXPIRED) return 'not done in time';
  if (wasDone(task)) return 'done';
  const { last, requestedAt } = task;
  if (last !== undefined && !isOver(task.state)) return `${failureText(last)}${againText(task)}`;
  const isOld = timeOf(last?.endedAt) < timeOf(requestedAt);
  return last === undefined || isOld ? 'withdrawn' : failureText(last);
}

function againText({ notBefore }: AgentTask): string {
  if (notBefore === undefined) return '; it is tried again';
  return `; it is tried again in ${span(Math.max(0, timestampMs(notBefore) - Date.now()))}`;
}

function failureText({ outcome, reason }: NonNullable<AgentTask['last']>): string {
  const word = outcome === Outcome.UNSPECIFIED ? 'refused' : outcomeWord(outcome);
  return reason === undefined ? word : `${word}: ${printable(reason.message)} (${printable(reason.code)})`;
}

function timeOf(time: Parameters<typeof timestampMs>[0] | undefined): number {
  return time === undefined ? 0 : timestampMs(time);
}

function packed<Desc extends DescMessage>(schema: Desc, init: Parameters<typeof create<Desc>>[1]): Any {
  return anyPack(schema, create(schema, init) as MessageShape<Desc>);
}

function print(context: CommandContext, text: string): void {
  context.stdout.write(`${text}\n`);
}

const wishWords: Readonly<Record<number, string>> = {
  [AgentTaskWishResult.WANTED]: 'wanted',
  [AgentTaskWishResult.REPLACED]: 'wanted in place of what was wanted before',
  [AgentTaskWishResult.UNCHANGED]: 'was wanted already',
};

const withdrawalWords: Readonly<Record<number, string>> = {
  [AgentTaskWithdrawal.WITHDRAWN]: 'withdrawn',
  [AgentTaskWithdrawal.CANCELLING]: 'under way; it is being cancelled',
  [AgentTaskWithdrawal.NOT_WANTED]: 'was not wanted',
};

const stateWords: Readonly<Record<number, string>> = {
  [AgentTaskState.WAITING]: 'waiting',
  [AgentTaskState.DRAINING]: 'draining',
  [AgentTaskState.CARRIED]: 'under way',
  [AgentTaskState.WITHDRAWING]: 'cancelling',
  [AgentTaskState.EXPIRED]: 'expired',
  [AgentTaskState.ENDED]: 'ended',
};

function stateText(task: AgentTask): string {
  const word = stateWords[task.state] ?? `state ${task.state}`;
  if (task.state !== AgentTaskState.WAITING || task.notBefore === undefined) return word;
  return `${word} ${span(Math.max(0, timestampMs(task.notBefore) - Date.now()))}`;
}

const taskColumns = [
  { head: 'AGENT', cell: (task: AgentTask) => task.agentId },
  { head: 'WANTED', cell: (task: AgentTask) => (task.forced ? `${task.source}, forced` : task.source) },
  { head: 'STATE', cell: stateText },
  { head: 'BY', cell: (task: AgentTask) => task.requestedBy },
  { head: 'SINCE', cell: (task: AgentTask) => ago(task.requestedAt) },
  { head: 'FAILED', cell: (task: AgentTask) => (task.failures === 0 ? '-' : `${task.failures} times`) },
  { head: 'LEASE', cell: (task: AgentTask) => (task.leaseId === '' ? '-' : shortId(task.leaseId)) },
  {
    head: 'LAST',
    cell: ({ last }: AgentTask) =>
      last === undefined ? '-' : `${last.succeeded ? 'done' : failureText(last)}, ${ago(last.endedAt)} ago`,
  },
];
