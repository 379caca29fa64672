import { duration } from '@drover/app-config';
import type { JsonObject } from '@bufbuild/protobuf';
import { durationFromMs, timestampDate, timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import {
  CreateTokenResponseSchema,
  ListAuditResponseSchema,
  ListTokensResponseSchema,
  TokenStatusSchema,
  type AuditEntry,
  type TokenStatus,
} from '@drover/control-api';
import type { Command } from 'commander';
import {
  durationOption,
  countOption,
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { roleNames, roleOfWord, roleWord } from '../output/access-words.ts';
import { jsonText } from '../output/job-json.ts';
import { tableText, type Column } from '../output/print-table.ts';
import { ago, shortId, span } from '../output/words.ts';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
  readonly limit: number;
}

interface CreateOptions extends ListOptions {
  readonly user: string;
  readonly role: string;
  readonly pool: readonly string[];
  readonly comment: string;
  readonly expires?: string;
  readonly neverExpires?: boolean;
}

interface AuditOptions extends ListOptions {
  readonly since?: string;
  readonly until?: string;
  readonly who: string;
  readonly what: string;
  readonly subject: string;
}

/** `drover tokens create|list|revoke` and `drover audit`. */
export function addAccessCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const limited = (command: Command): Command =>
    withJson(withServer(command, context.env)).option(
      '-n, --limit <count>',
      'how many',
      countOption('--limit', 1, 1_000),
      200,
    );
  const tokens = program.command('tokens').description('tokens of people and programs');

  withJson(withServer(tokens.command('create'), context.env))
    .description('make a token; it is printed once, and nowhere kept')
    .requiredOption('--user <name>', 'as whom its bearer acts')
    .requiredOption('--role <role>', roleNames.join(', '))
    .option('--pool <name...>', 'only work and machines of these pools', [])
    .option('--comment <text>', 'what it is for', '')
    .option('--expires <duration>', 'how long it may be used, e.g. 12h, 30d (default 90d)')
    .option('--never-expires', 'it ends only when it is revoked')
    .action(async (options: CreateOptions) => {
      if (!roleNames.includes(options.role)) {
        throw new UsageError(`--role is ${JSON.stringify(options.role)}; allowed are ${roleNames.join(', ')}`);
      }
      const lifetime = options.expires === undefined ? undefined : durationOption('--expires')(options.expires);
      const { user, pool, comment, neverExpires = false } = options;
      const request = {
        ...{ user, role: roleOfWord(options.role), pools: [...pool], comment, neverExpires },
        ...(lifetime === undefined ? {} : { lifetime: durationFromMs(lifetime) }),
      };
      await usingServer(options, context, async (client) => {
        const answer = await client.access.createToken(request, callOptions(context.signal));
        if (options.json === true) return out(jsonText(CreateTokenResponseSchema, answer));
        const { tokenId, expiresAt } = answer.token!;
        const until = expiresAt === undefined ? 'it never expires' : `until ${timestampDate(expiresAt).toISOString()}`;
        context.stderr.write(
          `token ${shortId(tokenId)} for ${user} (${options.role}), ${until}; it is shown only now:\n`,
        );
        out(answer.secret);
      });
    });

  limited(tokens.command('list'))
    .description('tokens, newest first')
    .option('--all', 'those that have expired or were revoked, too')
    .action(async (options: ListOptions & { readonly all?: boolean }) => {
      await usingServer(options, context, async (client) => {
        const request = { pageSize: options.limit, ended: options.all === true };
        const answer = await client.access.listTokens(request, callOptions(context.signal));
        if (options.json === true) return out(jsonText(ListTokensResponseSchema, answer));
        out(tableText(tokenColumns, answer.tokens, 'no tokens'));
        if (answer.nextPageToken !== '') context.stderr.write('there are more: --limit says how many are shown\n');
      });
    });

  withJson(withServer(tokens.command('revoke').argument('<token>', 'an id, or the first letters of one'), context.env))
    .description('take a token back for good; what is open with it ends at once')
    .action(async (tokenId: string, options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const { token } = await client.access.revokeToken({ tokenId }, callOptions(context.signal));
        if (options.json === true) return out(jsonText(TokenStatusSchema, token!));
        out(`revoked token ${shortId(token!.tokenId)} of ${token!.user}`);
      });
    });

  limited(program.command('audit'))
    .description('what people and programs have changed, newest first')
    .option('--since <time>', 'a time such as 2026-11-22T08:00Z, or how long ago, e.g. 2h')
    .option('--until <time>', 'the same')
    .option('--who <name>', 'only of one, e.g. ada or user:ada', '')
    .option('--what <action>', 'only one thing that is done, e.g. token.create or token', '')
    .option('--subject <subject>', 'only to one thing, e.g. agent:build-7 or agent', '')
    .action(async (options: AuditOptions) => {
      const since = options.since === undefined ? undefined : timeOption('--since', options.since);
      const until = options.until === undefined ? undefined : timeOption('--until', options.until);
      const request = {
        ...{ pageSize: options.limit, who: options.who, action: options.what, subject: options.subject },
        ...(since === undefined ? {} : { since: timestampFromMs(since) }),
        ...(until === undefined ? {} : { until: timestampFromMs(until) }),
      };
      await usingServer(options, context, async (client) => {
        const answer = await client.access.listAudit(request, callOptions(context.signal));
        if (options.json === true) return out(jsonText(ListAuditResponseSchema, answer));
        out(tableText(auditColumns, answer.entries, 'nothing was changed'));
        if (answer.nextPageToken !== '') context.stderr.write('there is more: --limit says how many lines are shown\n');
      });
    });
}

/** A time, or how long ago it was. */
function timeOption(name: string, text: string): number {
  const parsed = duration().safeParse(text);
  if (parsed.success) return Date.now() - parsed.data;
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  throw new UsageError(
    `${name} is ${JSON.stringify(text)}; allowed is a time such as 2026-11-22T08:00Z, or how long ago, e.g. 2h`,
  );
}

function stateOf({ revokedAt, expiresAt }: TokenStatus): string {
  if (revokedAt !== undefined) return `revoked ${ago(revokedAt)} ago`;
  if (expiresAt === undefined) return 'never expires';
  const leftMs = timestampMs(expiresAt) - Date.now();
  return leftMs > 0 ? `for ${span(leftMs)}` : 'expired';
}

/** What differs between before and after, or what there is of one of them. */
function changeText({ before, after }: AuditEntry): string {
  const was: JsonObject = before ?? {};
  const is: JsonObject = after ?? {};
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])];
  const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  return names
    .filter((name) => JSON.stringify(was[name]) !== JSON.stringify(is[name]))
    .map((name) => {
      if (before === undefined) return `${name} ${text(is[name])}`;
      if (after === undefined) return '';
      return `${name} ${name in was ? text(was[name]) : '-'} → ${name in is ? text(is[name]) : '-'}`;
    })
    .filter((line) => line !== '')
    .join(', ');
}

const tokenColumns: readonly Column<TokenStatus>[] = [
  { head: 'TOKEN', cell: (token) => shortId(token.tokenId) },
  { head: 'USER', cell: (token) => token.user },
  { head: 'ROLE', cell: (token) => roleWord(token.role) },
  { head: 'POOLS', cell: (token) => (token.pools.length === 0 ? 'all' : token.pools.join(', ')) },
  { head: 'STATE', cell: stateOf },
  { head: 'USED', cell: (token) => (token.usedAt === undefined ? 'never' : `${ago(token.usedAt)} ago`) },
  { head: 'MADE BY', cell: (token) => `${token.createdBy}, ${ago(token.createdAt)} ago` },
  { head: 'COMMENT', cell: (token) => token.comment },
];

const auditColumns: readonly Column<AuditEntry>[] = [
  { head: 'WHEN', cell: ({ at }) => (at === undefined ? '' : timestampDate(at).toISOString().slice(0, 19) + 'Z') },
  { head: 'WHO', cell: ({ who }) => who },
  { head: 'FROM', cell: ({ address, credential }) => `${address} (${credential})` },
  { head: 'WHAT', cell: ({ action }) => action },
  { head: 'TO', cell: ({ subject }) => subject },
  { head: 'CHANGE', cell: (entry) => changeText(entry).slice(0, 200) },
];
