import { createClient } from '@connectrpc/connect';
import { checkLegacyJob } from '@drover/herd-bridge/client';
import { createAgentTransport } from '@drover/herd-pairing/client';
import { HerdService, type FoundAgent, type HerdJobSummary } from '@drover/herd-protocol';
import {
  FileDigests,
  herdJobFileJsonSchema,
  readHerdJobFile,
  runHerdJob,
  type HerdJob,
} from '@drover/herd-service/client';
import { DroverError, messageOf } from '@drover/lease-kit';
import { Option, type Command } from 'commander';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { countOption, durationOption, withJson, type CommandContext } from '../command-context.ts';
import { withHerdFinders, type HerdFinderOptions } from '../herd/finders-for.ts';
import { herdConnectors, herdTls } from '../herd/herd-connectors.ts';
import { HerdProgress } from '../herd/herd-progress.ts';
import { exitCodeOfHerdJob, herdResultText } from '../herd/herd-result-view.ts';
import { choiceFrom, lookForAgents } from '../herd/look-for-agents.ts';
import { createLiveDisplay } from '../output/live-display.ts';
import { printable, tableText } from '../output/print-table.ts';
import { bytesText, shortId } from '../output/words.ts';

interface AgentOptions extends HerdFinderOptions {
  readonly on?: string[];
  readonly all?: boolean;
  readonly best?: number;
  readonly unpaired?: boolean;
  readonly timeout: number;
}

interface RunOptions extends AgentOptions {
  readonly into: string;
  readonly json?: boolean;
  readonly dryRun?: boolean;
  readonly lostAfter?: number;
  readonly legacySilence?: number;
  readonly legacyShared?: boolean;
}

/** `drover herd run|jobs|cancel|schema`: jobs straight to agents. */
export function addHerdRunCommands(herd: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);

  withJson(withAgents(herd.command('run').argument('<file>', 'a job file: YAML, or the XML of the original herd')))
    .description('spread a job over agents on the LAN, with no server, and bring its outputs back')
    .option('--into <folder>', 'where outputs go', '.')
    .option('--dry-run', 'say what would be sent and run, and where; ask agents for nothing')
    .addOption(
      new Option(
        '--lost-after <duration>',
        'an agent that is away for so long is lost (default: as the agent says)',
      ).argParser(durationOption('--lost-after', 100)),
    )
    .addOption(
      new Option(
        '--legacy-silence <duration>',
        'an original agent that says nothing for so long is lost (default: never, since quiet tasks look so)',
      ).argParser(durationOption('--legacy-silence', 1_000)),
    )
    .option('--legacy-shared', 'keep files where an original agent keeps those of all jobs, not in a folder of the job')
    .action(async (file: string, options: RunOptions) => {
      const choice = choiceFrom(options);
      const job = await readHerdJobFile(file, context.signal);
      const agents = await lookForAgents({ ...options, choice, timeoutMs: options.timeout }, context);
      checkLegacyJob(job, agents, options.legacyShared === true ? 'shared' : 'own');
      if (options.dryRun === true) {
        out(options.json === true ? JSON.stringify(planJson(job, agents), undefined, 2) : planText(job, agents));
        return;
      }
      const { stdout, stderr } = context;
      const progress = new HerdProgress(job, {
        display: createLiveDisplay(options.json === true ? stderr : stdout),
        columns: () => stdout.columns ?? 120,
        barsMax: () => Math.max(3, Math.min(20, (stdout.rows ?? 24) - 6)),
      });
      const digests = await FileDigests.open(digestsFile(context.env));
      const connectors = herdConnectors(
        {
          unpaired: options.unpaired === true,
          lostAfterMs: options.lostAfter,
          legacySilenceMs: options.legacySilence,
          isLegacyFolderShared: options.legacyShared,
        },
        context,
        (agent, text) => progress.note(agent.name, text),
      );
      const running = runHerdJob(
        job,
        { agents, outputsFolder: resolve(options.into) },
        { connectors, digests, onEvent: (event) => progress.show(event) },
      );
      const leave = (): void => running.leave(new Error('left at once: agents end what runs after their grace'));
      const cancel = (): void => {
        running.cancel();
        stderr.write('cancelling; once more leaves at once\n');
        process.once('SIGINT', leave);
      };
      context.signal.addEventListener('abort', cancel, { once: true });
      if (context.signal.aborted) cancel();
      try {
        const result = await running.result;
        progress.end();
        out(options.json === true ? JSON.stringify(result, undefined, 2) : herdResultText(result));
        context.exit(exitCodeOfHerdJob(result));
      } finally {
        progress.end();
        context.signal.removeEventListener('abort', cancel);
        process.off('SIGINT', leave);
        await digests.keep();
      }
    });

  withJson(withAgents(herd.command('jobs')))
    .description('your jobs on agents')
    .action(async (options: AgentOptions & { readonly json?: boolean }) => {
      const rows = await jobsOn(await agentsFor(options, context), options, context);
      if (options.json === true) {
        const plain = rows.map(({ agent, job: { $typeName: _, ...job } }) => ({ agent: agent.name, ...job }));
        return out(JSON.stringify({ jobs: plain }, undefined, 2));
      }
      out(tableText(jobColumns, rows, 'no jobs'));
    });

  withAgents(
    herd
      .command('cancel')
      .argument('<job>', 'the id of a job on an agent, the first letters of one, or the name of a job')
      .argument('[task...]', 'names of tasks; none: all of the job'),
  )
    .description('end a job on agents, or some of its tasks')
    .action(async (name: string, tasks: string[], options: AgentOptions) => {
      const rows = await jobsOn(await agentsFor(options, context), options, context);
      const meant = rows.filter(({ job }) => job.name === name || job.jobId.startsWith(name));
      if (meant.length === 0) {
        throw new DroverError({
          code: 'HERD_JOB_UNKNOWN',
          advice: 'not-found',
          message: `no agent has a job of yours ${JSON.stringify(name)}; "drover herd jobs" lists them`,
        });
      }
      await Promise.all(
        meant.map(({ agent, job: { jobId } }) =>
          usingAgent(agent, options, context, async (client) => {
            await client.cancelJob({ jobId, tasks }, { signal: context.signal });
            out(`${shortId(jobId)} on ${printable(agent.name)} is being cancelled`);
          }),
        ),
      );
    });

  herd
    .command('schema')
    .description('print the JSON schema of job files of the herd, for editors')
    .action(() => out(JSON.stringify(herdJobFileJsonSchema(), undefined, 2)));
}

function withAgents(command: Command): Command {
  return withHerdFinders(command)
    .option('--on <agent...>', 'on these: names, first letters of ids, or hosts as HOST or HOST:PORT')
    .option('--all', 'on all that you are paired with and that take jobs')
    .option(
      '--best <count>',
      'on so many with the most free slots, then the lowest load',
      countOption('--best', 1, 10_000),
    )
    .option('--unpaired', 'also on agents that let anybody in; whoever answers in their place would get your files')
    .addOption(
      new Option('--timeout <duration>', 'how long agents are looked for')
        .argParser(durationOption('--timeout', 50))
        .default(1_000, '1s'),
    );
}

/** Hashes of files that did not change are kept in the user's cache. */
function digestsFile(env: CommandContext['env']): string {
  return join(env['XDG_CACHE_HOME'] ?? join(env['HOME'] ?? homedir(), '.cache'), 'drover', 'herd-digests.json');
}

/** For questions, all agents where none is named. */
async function agentsFor(options: AgentOptions, context: CommandContext): Promise<FoundAgent[]> {
  const named = options.on !== undefined || options.best !== undefined;
  const choice = choiceFrom(named ? options : { ...options, all: true });
  return lookForAgents({ ...options, choice, timeoutMs: options.timeout }, context);
}

interface JobRow {
  readonly agent: FoundAgent;
  readonly job: HerdJobSummary;
}

async function jobsOn(
  agents: readonly FoundAgent[],
  options: AgentOptions,
  context: CommandContext,
): Promise<JobRow[]> {
  const rows = await Promise.all(
    agents
      .filter(({ protocol }) => protocol === 'drover')
      .map((agent) =>
        usingAgent(agent, options, context, async (client) => {
          const { jobs } = await client.listJobs({}, { signal: context.signal, timeoutMs: 10_000 });
          return jobs.map((job) => ({ agent, job }));
        }).catch((error: unknown) => {
          context.signal.throwIfAborted();
          context.stderr.write(`${printable(agent.name)}: ${printable(messageOf(error))}\n`);
          return [];
        }),
      ),
  );
  return rows.flat();
}

async function usingAgent<Result>(
  agent: FoundAgent,
  options: AgentOptions,
  context: CommandContext,
  work: (client: ReturnType<typeof createClient<typeof HerdService>>) => Promise<Result>,
): Promise<Result> {
  const address = agent.addresses[0]!;
  const trust = herdTls({ unpaired: options.unpaired === true }, context);
  const tls = await trust.tlsFor({ agentId: agent.agentId, address }, context.signal);
  using connection = createAgentTransport(address, tls);
  return await work(createClient(HerdService, connection.transport));
}

const jobColumns = [
  { head: 'JOB', cell: ({ job }: JobRow) => shortId(job.jobId) },
  { head: 'NAME', cell: ({ job }: JobRow) => job.name },
  { head: 'AGENT', cell: ({ agent }: JobRow) => agent.name },
  { head: 'WAITING', cell: ({ job }: JobRow) => String(job.tasksWaiting) },
  { head: 'RUNNING', cell: ({ job }: JobRow) => String(job.tasksRunning) },
  { head: 'ENDED', cell: ({ job }: JobRow) => String(job.tasksEnded) },
];

function planJson(job: HerdJob, agents: readonly FoundAgent[]): object {
  return { ...job, agents: agents.map(({ agentId, name, slots }) => ({ agentId, name, slots })) };
}

function planText(job: HerdJob, agents: readonly FoundAgent[]): string {
  const listedMax = 20;
  const list = <Item>(items: readonly Item[], line: (item: Item) => string): string[] => [
    ...items.slice(0, listedMax).map((item) => `  ${printable(line(item))}`),
    ...(items.length > listedMax ? [`  and ${items.length - listedMax} more`] : []),
  ];
  const slots = ({ total, free }: FoundAgent['slots']): string =>
    total === 0 ? '' : `, ${free} of ${total} slots free`;
  return [
    `job ${printable(job.name)}: ${job.tasks.length} tasks`,
    ...list(job.tasks, ({ name, exe, arguments: args }) => `${name}: ${[exe, ...args].join(' ')}`),
    `${job.inputs.length} files for every agent`,
    ...list(job.inputs, ({ path, executable }) => `${path}${executable ? ' (program)' : ''}`),
    `${job.outputs.length + job.tasks.reduce((count, { outputs }) => count + outputs.length, 0)} outputs`,
    `${agents.length} agents`,
    ...list(agents, (agent) => `${agent.name}${slots(agent.slots)}, ${bytesText(agent.ram.free)} of memory free`),
  ].join('\n');
}
