import type { Command } from 'commander';
import { GetJobResponseSchema, JobState, ListJobsResponseSchema, type JobStatus } from '@drover/control-api';
import { jobFileJsonSchema } from '@drover/lease-type-job';
import { styleText } from 'node:util';
import {
  UsageError,
  countOption,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { followJob } from '../follow-job.ts';
import { jsonText } from '../output/job-json.ts';
import { jobEndLine, progressLines, resultLines } from '../output/job-view.ts';
import { createLiveDisplay } from '../output/live-display.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, jobStateWord, shortId } from '../output/words.ts';
import { exitCodeOfJob } from '../exit-code-of-job.ts';
import { saveOutputs } from '../save-outputs.ts';
import { followLogs } from '../follow-logs.ts';

interface SubmitOptions extends ServerOptions {
  readonly var: Readonly<Record<string, string>>;
  readonly priority?: number;
  readonly json?: boolean;
}

/** `drover job …`: everything about jobs. */
export function addJobCommands(program: Command, context: CommandContext): void {
  const job = program.command('job').description('submit jobs, follow them, cancel them');
  const out = (text: string): void => void context.stdout.write(`${text}\n`);

  withSubmit(job.command('run').argument('<file>', 'a job file (YAML)'), context)
    .description('submit a job, follow it, exit with its status')
    .option('--no-logs', 'show the progress alone')
    .action(async (file: string, options: SubmitOptions & { readonly logs: boolean }) => {
      await usingServer(options, context, async (client) => {
        const jobId = await submit(client, file, options, context);
        if (options.json !== true) out(`job ${shortId(jobId)} submitted to ${client.url}`);
        const display = createLiveDisplay(options.json === true ? context.stderr : context.stdout);
        const columns = (): number => context.stdout.columns ?? 120;
        const follow = { jobId, display, logs: options.logs, columns };
        const ended = await followJob(client, follow, context.signal).catch((error: unknown) => {
          if (context.signal.aborted) {
            const id = shortId(jobId);
            context.stderr.write(`job ${id} goes on; "drover job cancel ${id}" stops it\n`);
          }
          throw error;
        });
        if (options.json === true) out(jobJson(ended));
        else out([...resultLines(ended), jobEndLine(ended)].join('\n'));
        context.exit(exitCodeOfJob(ended));
      });
    });

  withSubmit(job.command('submit').argument('<file>', 'a job file (YAML)'), context)
    .description('submit a job and print its id')
    .action(async (file: string, options: SubmitOptions) => {
      await usingServer(options, context, async (client) => {
        const jobId = await submit(client, file, options, context);
        out(options.json === true ? JSON.stringify({ jobId }) : jobId);
      });
    });

  withJson(withServer(job.command('list'), context.env))
    .description('jobs, newest first')
    .option('-n, --limit <count>', 'how many', countOption('--limit', 1, 500), 20)
    .option('--state <state...>', `only jobs that are ${[...statesByWord.keys()].join(', ')}`)
    .action(async (options: ServerOptions & { limit: number; json?: boolean; state?: string[] }) => {
      await usingServer(options, context, async (client) => {
        const states = (options.state ?? []).map(stateFromWord);
        const answer = await client.jobs.listJobs({ pageSize: options.limit, states }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(ListJobsResponseSchema, answer));
        out(tableText(jobColumns, answer.jobs, 'no jobs'));
        if (answer.nextPageToken !== '') out(styleText('dim', `there are more: --limit shows up to 500`));
      });
    });

  withJson(withServer(job.command('show').argument('<job>', 'an id, or the first letters of one'), context.env))
    .description('one job, with its steps and outputs')
    .action(async (jobId: string, options: ServerOptions & { json?: boolean }) => {
      await usingServer(options, context, async (client) => {
        const found = await getJob(client, jobId, context);
        if (options.json === true) return out(jobJson(found));
        out(`job ${found.jobId}  ${printable(found.name)}  ${jobStateWord(found.state)}`);
        out(`submitted ${ago(found.createdAt)} ago by ${printable(found.submitter)}, priority ${found.priority}`);
        if (found.state === JobState.WAITING || found.state === JobState.RUNNING) {
          out(progressLines(found, context.stdout.columns ?? 120).join('\n'));
        }
        out(resultLines(found).join('\n'));
      });
    });

  withServer(job.command('logs').argument('<job>', 'an id, or the first letters of one'), context.env)
    .description('the logs of a job')
    .option('-f, --follow', 'go on while they are written')
    .option('--batch <name>', 'only this batch')
    .option('--step <name>', 'only this step')
    .action(async (jobId: string, options: ServerOptions & { follow?: boolean; batch?: string; step?: string }) => {
      await usingServer(options, context, (client) =>
        followLogs(client, { ...options, jobId, follow: options.follow ?? false }, context),
      );
    });

  withServer(job.command('cancel').argument('<job>', 'an id, or the first letters of one'), context.env)
    .description('say that a job is no longer wanted')
    .option('--reason <text>', 'why, for people', 'cancelled from the command line')
    .action(async (jobId: string, options: ServerOptions & { reason: string }) => {
      await usingServer(options, context, async (client) => {
        const found = await getJob(client, jobId, context);
        await client.jobs.cancelJob({ jobId: found.jobId, reason: options.reason }, callOptions(context.signal));
        out(`job ${shortId(found.jobId)} is being cancelled`);
      });
    });

  withServer(job.command('outputs').argument('<job>', 'an id, or the first letters of one'), context.env)
    .description('fetch the outputs of a job into a folder')
    .option('-o, --output <folder>', 'where to put them; a folder for each batch', 'outputs')
    .option('--force', 'replace files that are there')
    .action(async (jobId: string, options: ServerOptions & { output: string; force?: boolean }) => {
      await usingServer(options, context, async (client) => {
        const found = await getJob(client, jobId, context);
        const saved = await saveOutputs(
          found,
          client.content,
          { folder: options.output, replace: options.force ?? false },
          context.signal,
        );
        out(saved.length === 0 ? 'the job has no outputs' : saved.join('\n'));
      });
    });

  job
    .command('schema')
    .description('print the JSON schema of job files, for editors')
    .action(() => out(JSON.stringify(jobFileJsonSchema(), null, 2)));
}

function withSubmit(command: Command, context: CommandContext): Command {
  return withJson(withServer(command, context.env))
    .option('--var <name=value>', 'a value for a variable of the file; repeatable', collectVar, {})
    .option('--priority <number>', 'higher goes first', countOption('--priority', -1000, 1000));
}

function collectVar(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`--var is ${JSON.stringify(text)}; allowed is NAME=VALUE`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

async function submit(
  client: FleetClient,
  file: string,
  options: SubmitOptions,
  context: CommandContext,
): Promise<string> {
  // Git and uploads are loaded for a submission alone.
  const { submitJobFile } = await import('../submit/submit-job-file.ts');
  const { var: vars, priority } = options;
  const note = (text: string): void => void context.stderr.write(`${text}\n`);
  return submitJobFile(
    client,
    { file, vars, note, env: context.env, ...(priority === undefined ? {} : { priority }) },
    context.signal,
  );
}

async function getJob(client: FleetClient, jobId: string, context: CommandContext): Promise<JobStatus> {
  const { job } = await client.jobs.getJob({ jobId }, callOptions(context.signal));
  if (!job) throw new Error('the server answered without a job');
  return job;
}

function jobJson(job: JobStatus): string {
  return jsonText(GetJobResponseSchema, { $typeName: 'drover.control.v1.GetJobResponse', job });
}

const statesByWord = new Map(
  [JobState.WAITING, JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED].map((state) => [
    jobStateWord(state),
    state,
  ]),
);

function stateFromWord(word: string): JobState {
  const state = statesByWord.get(word);
  if (state !== undefined) return state;
  throw new UsageError(`--state is ${JSON.stringify(word)}; allowed are ${[...statesByWord.keys()].join(', ')}`);
}

const jobColumns = [
  { head: 'JOB', cell: (job: JobStatus) => shortId(job.jobId) },
  { head: 'NAME', cell: (job: JobStatus) => job.name },
  { head: 'STATE', cell: (job: JobStatus) => jobStateWord(job.state) },
  { head: 'LEASES', cell: (job: JobStatus) => String(job.leases.length) },
  { head: 'PRIORITY', cell: (job: JobStatus) => String(job.priority) },
  { head: 'SUBMITTER', cell: (job: JobStatus) => job.submitter },
  { head: 'AGE', cell: (job: JobStatus) => ago(job.createdAt) },
];
