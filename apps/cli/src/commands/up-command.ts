import type { AgentReady } from '@drover/agent';
import { exitCodes, listenForStop } from '@drover/app-config';
import { DroverError } from '@drover/lease-kit';
import type { ServerListening } from '@drover/server';
import type { Command } from 'commander';
import { mkdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { styleText } from 'node:util';
import { countOption, defaultServerUrl, type CommandContext } from '../command-context.ts';
import { exitCodeOfJob } from '../exit-code-of-job.ts';
import { createFleetClient } from '../fleet-client.ts';
import { jobEndLine, resultLines } from '../output/job-view.ts';
import { shortId } from '../output/words.ts';
import { startChild, type DroverChild } from '../up/child-process.ts';
import { portOrAny } from '../up/free-port.ts';
import { exampleFile, runExample } from '../up/run-example.ts';

interface UpOptions {
  readonly state: string;
  readonly port?: number;
  readonly example?: boolean;
  readonly once?: boolean;
}

const stopGraceMs = 15_000;

/** `drover up`: a server, its Postgres and an agent on this machine. */
export function addUpCommand(program: Command, context: CommandContext): void {
  program
    .command('up')
    .description('run a whole fleet on this machine: Postgres, a server and an agent')
    .option('--state <folder>', 'where everything is kept', '.drover')
    .option(
      '--port <number>',
      `the server's port (default 7613, or a free one if that is taken)`,
      countOption('--port', 0, 65_535),
    )
    .option('--example', 'run the example job of this repository')
    .option('--once', 'with --example: end after the job, with its status')
    .action((options: UpOptions) => up(options, context));
}

async function up(options: UpOptions, context: CommandContext): Promise<void> {
  const say = (text: string): void => void context.stdout.write(`${text}\n`);
  const state = resolve(options.state);
  const logs = join(state, 'logs');
  mkdirSync(logs, { recursive: true });
  using stop = listenForStop();
  const children: DroverChild[] = [];
  try {
    const port = options.port ?? (await portOrAny(Number(new URL(defaultServerUrl).port)));
    const startedMs = performance.now();
    say('starting Postgres and the server …');
    const server = startChild(
      'server',
      [
        ...['server', '--access-development', '--listen-port', String(port)],
        ...['--state-dir', join(state, 'server'), '--log-format', 'json'],
      ],
      join(logs, 'server.log'),
    );
    children.unshift(server);
    const { url, dataDir } = await unlessStopped(server.message<ServerListening>('listening'), stop.drain);
    say(`server   ${url}`);
    if (dataDir !== undefined) say(`postgres ${shown(dataDir)}`);
    const agent = startChild(
      'agent',
      ['agent', '--server-urls', url, '--state-dir', join(state, 'agent'), '--log-format', 'json'],
      join(logs, 'agent.log'),
    );
    children.unshift(agent);
    const ready = await unlessStopped(agent.message<AgentReady>('ready'), stop.drain);
    say(`agent    ${ready.agentId}`);
    say(`logs     ${shown(logs)}`);
    say(styleText('dim', `up after ${((performance.now() - startedMs) / 1_000).toFixed(1)} s`));

    if (options.example === true) await example(url, options, context, stop.drain);
    if (options.once === true) return;
    say(`\nThe fleet stays up until Ctrl-C.`);
    const ended = await Promise.race([
      ...children.map(async (child) => ({ child, how: await child.ended })),
      aborted(stop.drain).then(() => undefined),
    ]);
    if (ended) {
      throw new DroverError({
        code: 'CHILD_ENDED',
        advice: 'unavailable',
        message: `the ${ended.child.name} has ended (${ended.how}); see ${shown(ended.child.logFile)}`,
      });
    }
  } catch (error) {
    if (!stop.drain.aborted) throw error;
    context.exit(options.once === true ? exitCodes.interrupted : exitCodes.ok);
  } finally {
    say('stopping …');
    // A second signal stops what runs at once; the agent goes first, so that it can report its last words.
    stop.cancel.addEventListener('abort', () => void Promise.all(children.map((child) => child.stop(1_000))));
    for (const child of children) await child.stop(stopGraceMs);
  }
}

async function example(url: string, options: UpOptions, context: CommandContext, signal: AbortSignal): Promise<void> {
  const say = (text: string): void => void context.stdout.write(`${text}\n`);
  const file = exampleFile();
  if (file === undefined) {
    throw new DroverError({
      code: 'EXAMPLE_MISSING',
      advice: 'fix-input',
      message: '--example runs examples/check-reconciler.yaml of a checkout of Drover, and there is none here',
    });
  }
  using client = createFleetClient({ url });
  say(`\n${styleText('bold', 'The example job')}: ${shown(file)}`);
  const job = await runExample(client, file, context.stdout, signal);
  say('');
  for (const line of resultLines(job)) say(line);
  say(jobEndLine(job));
  context.exit(options.once === true ? exitCodeOfJob(job) : exitCodes.ok);
  if (options.once === true) return;
  const server = url === defaultServerUrl ? '' : ` --server ${url}`;
  say(`\n${styleText('bold', 'What to do next')}, in another terminal:`);
  for (const [command, what] of [
    [`npx drover job outputs ${shortId(job.jobId)}${server}`, 'fetch its test report'],
    [`npx drover job logs ${shortId(job.jobId)}${server}`, 'read its logs'],
    [`npx drover job run examples/check-reconciler.yaml${server}`, 'run it again'],
    [`npx drover agents${server}`, 'see the machines'],
    ['cat README.md', 'write a job of your own, mount the libraries, add a lease type'],
  ] as const) {
    say(`  ${command.padEnd(62 + server.length)} ${styleText('dim', what)}`);
  }
}

function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short === '' || short.startsWith('..') ? path : short;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolved) => signal.addEventListener('abort', () => resolved(), { once: true }));
}

/** `work`, or the signal's reason if that comes first. */
async function unlessStopped<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return Promise.race([
    work,
    aborted(signal).then(() => {
      throw signal.reason;
    }),
  ]);
}
