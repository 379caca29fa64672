import { WhoAmIResponseSchema, type WhoAmIResponse } from '@drover/control-api';
import type { Command } from 'commander';
import { text as textOf } from 'node:stream/consumers';
import {
  serverOrigin,
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { roleWord } from '../output/access-words.ts';
import { jsonText } from '../output/job-json.ts';
import { printable } from '../output/print-table.ts';
import { span } from '../output/words.ts';
import {
  credentialsFile,
  readCredential,
  writeCredential,
  type StoredCredential,
} from '../sign-in/credentials-file.ts';
import { timestampMs } from '@bufbuild/protobuf/wkt';

interface LoginOptions extends ServerOptions {
  readonly withToken?: boolean;
}

/** `drover login`, `drover logout`, `drover whoami`. */
export function addSignInCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const say = (text: string): void => void context.stderr.write(`${text}\n`);

  withServer(program.command('login'), context.env)
    .description('sign in to a server with a browser, or keep a token for it')
    .option('--with-token', 'keep the token that is read from standard input')
    .action(async (options: LoginOptions) => {
      const origin = serverOrigin(options, context.env);
      if (options.token !== undefined) throw new UsageError('--token is not kept; use --with-token and standard input');
      const credential = await newCredential(options, context, say);
      const who = await usingServer({ ...options, token: credential.token }, context, (client) =>
        client.access.whoAmI({}, callOptions(context.signal)),
      );
      writeCredential(credentialsFile(context.env), origin, credential);
      out(`signed in to ${origin} as ${described(who)}`);
      if (context.env['DROVER_TOKEN'] !== undefined)
        say('DROVER_TOKEN is set and goes first in commands of this shell');
    });

  program
    .command('logout')
    .option('-s, --server <url>', 'the server [DROVER_SERVER]', context.env['DROVER_SERVER'] ?? 'http://127.0.0.1:7613')
    .description('forget what "drover login" keeps for a server; a token that may be known to others is to be revoked')
    .action((options: ServerOptions) => {
      const origin = serverOrigin({ ...options, plaintext: true }, context.env);
      const file = credentialsFile(context.env);
      const was = readCredential(file, origin);
      if (was !== undefined) writeCredential(file, origin, undefined);
      out(was === undefined ? `nothing was kept for ${origin}` : `signed out of ${origin}`);
    });

  withJson(withServer(program.command('whoami'), context.env))
    .description('as whom a server knows you, and what you may do')
    .action(async (options: ServerOptions & { readonly json?: boolean }) => {
      await usingServer(options, context, async (client) => {
        const who = await client.access.whoAmI({}, callOptions(context.signal));
        out(options.json === true ? jsonText(WhoAmIResponseSchema, who) : described(who));
      });
    });
}

/** What a person gives: a token on standard input, or a yes in a browser. */
async function newCredential(
  options: LoginOptions,
  context: CommandContext,
  say: (text: string) => void,
): Promise<StoredCredential> {
  if (options.withToken === true) {
    if (process.stdin.isTTY) say('paste the token, then press Enter and Ctrl-D');
    const token = (await textOf(process.stdin)).trim();
    if (/^\S{1,8192}$/.test(token)) return { token };
    throw new UsageError(
      '--with-token reads one token from standard input, e.g. drover login --with-token < token.txt',
    );
  }
  // Shows nothing of what is kept: a credential that has ended must not be in the way of a new one.
  const signIn = await usingServer({ ...options, token: '' }, context, (client) =>
    client.access.getSignIn({}, callOptions(context.signal)),
  );
  if (signIn.issuer === '') {
    throw new UsageError(
      'this server has no sign-in with a browser; "drover login --with-token" keeps a token, which an administrator makes with "drover tokens create"',
    );
  }
  const { signInOnDevice } = await import('../sign-in/sign-in-on-device.ts');
  const show = ({ url, code }: { readonly url: string; readonly code: string }): void =>
    say(`open ${printable(url)}\nand confirm the code ${printable(code)}`);
  return signInOnDevice(signIn, show, context.signal);
}

function described({ kind, id, role, pools, credential, expiresAt }: WhoAmIResponse): string {
  const limits = pools.length === 0 ? '' : `, only in the pools ${pools.join(', ')}`;
  const left = expiresAt === undefined ? '' : `, for ${span(timestampMs(expiresAt) - Date.now())}`;
  return printable(`${kind} ${id}: ${roleWord(role)}${limits} (${credential}${left})`);
}
