import { duration } from '@drover/app-config';
import { messageOf } from '@drover/lease-kit';
import { isLoopback } from '@drover/app-config';
import type { Command } from 'commander';
import { readFile } from 'node:fs/promises';
import { createFleetClient, type FleetClient } from './fleet-client.ts';
import { tokenFor } from './sign-in/token-for.ts';

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
  readonly cert?: string;
  readonly certKey?: string;
  readonly plaintext?: boolean;
}

/** Adds `--server`, `--token` and `--ca` to a command that asks a server. */
export function withServer(command: Command, env: CommandContext['env']): Command {
  return command
    .option('-s, --server <url>', 'the server to ask [DROVER_SERVER]', env['DROVER_SERVER'] ?? defaultServerUrl)
    .option(
      '--token <token>',
      'what the server is shown, if "drover login" keeps nothing; better in the environment [DROVER_TOKEN]',
    )
    .option('--ca <file>', 'PEM file of the authority that signed its certificate [DROVER_CA]')
    .option('--cert <file>', 'PEM file of a certificate of your own, where it asks for one [DROVER_CERT]')
    .option('--cert-key <file>', 'PEM file of its private key [DROVER_CERT_KEY]')
    .option('--plaintext', 'call a server on another machine without TLS [DROVER_PLAINTEXT=1]');
}

/** Adds `--json` to a command that prints a table. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print one JSON document for programs');
}

/** Runs `work` with a client for `--server` and closes it. */
export async function usingServer<Result>(
  options: ServerOptions,
  context: Pick<CommandContext, 'env' | 'signal'>,
  work: (client: FleetClient) => Promise<Result>,
): Promise<Result> {
  const url = serverOrigin(options, context.env);
  const token = await tokenFor(url, { token: options.token, env: context.env, signal: context.signal });
  const caFile = options.ca ?? context.env['DROVER_CA'];
  const ca = caFile === undefined ? undefined : await readPem('--ca', caFile);
  const certFile = options.cert ?? context.env['DROVER_CERT'];
  const keyFile = options.certKey ?? context.env['DROVER_CERT_KEY'];
  if ((certFile === undefined) !== (keyFile === undefined)) throw new UsageError('--cert and --cert-key go together');
  const certificate =
    certFile === undefined || keyFile === undefined
      ? undefined
      : { cert: await readPem('--cert', certFile), key: await readPem('--cert-key', keyFile) };
  using client = createFleetClient({
    url,
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { certificate }),
  });
  return await work(client);
}

async function readPem(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${option} is ${file}, which cannot be read: ${messageOf(error)}`);
  }
}

/** The origin of the server that a command asks. */
export function serverOrigin({ server, plaintext }: ServerOptions, env: CommandContext['env']): string {
  return checkServerUrl(server, plaintext ?? env['DROVER_PLAINTEXT'] === '1');
}

function checkServerUrl(text: string, plaintext: boolean): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === 'http:' && !plaintext && !isLoopback(url.hostname)) {
    throw new UsageError(
      `--server is ${text}, on another machine and without TLS; allowed is https://, or --plaintext`,
    );
  }
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.origin;
  throw new UsageError(`--server is ${JSON.stringify(text)}; allowed is a URL such as ${defaultServerUrl}`);
}

/** The command line is wrong: exit code `usage`. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** A duration of an option, such as `30s` or `5min`, in milliseconds; of at least `minMs`. */
export function durationOption(name: string, minMs = 0): (text: string) => number {
  return (text) => {
    const parsed = duration({ minMs }).safeParse(text);
    if (parsed.success) return parsed.data;
    throw new UsageError(`${name} is ${JSON.stringify(text)}; it ${parsed.error.issues[0]!.message}`);
  };
}

/** A whole number of an option, within bounds. */
export function countOption(name: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= min && value <= max) return value;
    throw new UsageError(`${name} is ${JSON.stringify(text)}; allowed are whole numbers from ${min} to ${max}`);
  };
}
