import { messageOf } from '@drover/lease-kit';
import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { createFleetClient, type FleetClient } from './fleet-client.ts';

/** Where a server listens when nobody says otherwise. */
export const defaultServerUrl = 'http://127.0.0.1:7613';

/** What a command works with. */
export interface CommandContext {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** The exit code of the process; the last one set counts. */
  exit(code: number): void;
}

/** How a command reaches its server. */
export interface ServerOptions {
  readonly server: string;
  readonly token?: string;
  readonly ca?: string;
}

/** Adds `--server`, `--token` and `--ca` to a command that asks a server. */
export function withServer(command: Command, env: CommandContext['env']): Command {
  return command
    .option('-s, --server <url>', 'the server to ask [DROVER_SERVER]', env['DROVER_SERVER'] ?? defaultServerUrl)
    .option('--token <token>', 'what the server asks every caller for; better in the environment [DROVER_TOKEN]')
    .option('--ca <file>', 'PEM file of the authority that signed its certificate [DROVER_CA]');
}

/** Adds `--json` to a command that prints a table. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print one JSON document for programs');
}

/** Runs `work` with a client for `--server` and closes it. */
export async function usingServer<Result>(
  options: ServerOptions,
  context: Pick<CommandContext, 'env'>,
  work: (client: FleetClient) => Promise<Result>,
): Promise<Result> {
  const url = checkServerUrl(options.server);
  const token = options.token ?? context.env['DROVER_TOKEN'];
  const caFile = options.ca ?? context.env['DROVER_CA'];
  const ca = caFile === undefined ? undefined : await readCa(caFile);
  using client = createFleetClient({
    url,
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { ca }),
  });
  return await work(client);
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`--ca is ${file}, which cannot be read: ${messageOf(error)}`);
  }
}

function checkServerUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
  throw new UsageError(`--server is ${JSON.stringify(text)}; allowed is a URL such as ${defaultServerUrl}`);
}

/** The command line is wrong: exit code `usage`. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A whole number of an option, within bounds. */
export function countOption(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= min && value <= max) return value;
    throw new UsageError(`${name} is ${JSON.stringify(text)}; allowed are whole numbers from ${min} to ${max}`);
  };
}
