import { durationMs, timestampDate } from '@bufbuild/protobuf/wkt';
import {
  ListCompilesResponseSchema,
  ListCompileTenantsResponseSchema,
  ListCompileWorkersResponseSchema,
  PutCompileTenantResponseSchema,
  RemoveCompileTenantResponseSchema,
  type CompileEntry,
  type CompileTenant,
  type CompileWorker,
} from '@drover/control-api';
import { Option, type Command } from 'commander';
import {
  countOption,
  UsageError,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText, type Column } from '../output/print-table.ts';
import { ago, span } from '../output/words.ts';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
}

interface TenantOptions extends ListOptions {
  readonly user: readonly string[];
  readonly issuer: string;
  readonly audience: string;
  readonly claim: string;
  readonly clientId: string;
  readonly tokenUrl: string;
  readonly scope: string;
  readonly image: readonly string[];
  readonly worker: readonly string[];
  readonly isolation: string;
  readonly atOnce: number;
  readonly perMinute: number;
  readonly disabled?: boolean;
}

interface AuditOptions extends ListOptions {
  readonly tenant: string;
  readonly worker: string;
  readonly limit: number;
}

/** `drover compile tenants|workers|audit`: the compile farm. */
export function addCompileCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);
  const served = (command: Command): Command => withJson(withServer(command, context.env));
  const compile = program.command('compile').description('the compile farm: tenants, workers, what was compiled');
  addTenantCommands(compile, context);

  served(compile.command('workers'))
    .description('the workers that have registered, with their load, sandboxes and images')
    .action(async (options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.compiles.listCompileWorkers({ pageSize: 1_000 }, call());
        if (options.json === true) return out(jsonText(ListCompileWorkersResponseSchema, answer));
        out(tableText(workerColumns, answer.workers, 'no workers'));
      });
    });

  served(compile.command('audit'))
    .description('what was compiled, newest first')
    .option('--tenant <id>', 'only for one tenant', '')
    .option('--worker <id>', 'only on one worker', '')
    .option('-n, --limit <count>', 'how many', countOption('--limit', 1, 1_000), 200)
    .action(async (options: AuditOptions) => {
      const { tenant: tenantId, worker: workerId, limit: pageSize } = options;
      await usingServer(options, context, async (client) => {
        const answer = await client.compiles.listCompiles({ pageSize, tenantId, workerId }, call());
        if (options.json === true) return out(jsonText(ListCompilesResponseSchema, answer));
        out(tableText(entryColumns, answer.compiles, 'nothing was compiled'));
        if (answer.nextPageToken !== '') context.stderr.write('there is more: --limit says how many lines are shown\n');
      });
    });
}

function addTenantCommands(compile: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);
  const tenants = compile.command('tenants').description('who may compile on the farm');
  const inner = (name: string): Command => withJson(withServer(tenants.command(name), context.env));

  inner('list')
    .description('the tenants of the farm')
    .action(async (options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.compiles.listCompileTenants({ pageSize: 1_000 }, call());
        if (options.json === true) return out(jsonText(ListCompileTenantsResponseSchema, answer));
        out(tableText(tenantColumns, answer.tenants, 'no tenants'));
      });
    });

  inner('set <tenant>')
    .description('add a tenant, or replace all of its definition')
    .option('--user <name...>', "users of the fleet's own tokens and sign-in who belong to it", [])
    .option('--issuer <url>', "the tenant's own OpenID Connect issuer", '')
    .option('--audience <name>', 'what its tokens must be meant for; needed with --issuer', '')
    .option('--claim <name=value>', 'what its tokens must say besides; if not said, all for the audience are its', '')
    .option('--client-id <id>', 'as which client its people sign in', '')
    .option('--token-url <url>', 'where its programs get tokens', '')
    .option('--scope <words>', 'what they ask for', '')
    .option('--image <digest...>', 'images that it may use; if not said, any that a worker has', [])
    .option('--worker <id...>', 'workers that it is kept to; if not said, any', [])
    .addOption(
      new Option('--isolation <level>', 'how much its sandboxes are apart, at least')
        .choices(['none', 'namespaces', 'vm'])
        .default('namespaces'),
    )
    .option('--at-once <count>', 'task tokens that are out at once', countOption('--at-once', 1, 1_000_000), 1_024)
    .option('--per-minute <count>', 'task tokens of a minute', countOption('--per-minute', 1, 10_000_000), 60_000)
    .option('--disabled', 'it gets no tokens for now')
    .action(async (tenantId: string, options: TenantOptions) => {
      const { user, issuer, audience, clientId, tokenUrl, scope, image, worker, isolation, disabled = false } = options;
      const [claim, claimValue] = claimOption(options.claim);
      const tenant = {
        ...{ tenantId, disabled, issuer, audience, claim, claimValue, clientId, tokenUrl, scope, isolation },
        ...{ users: [...user], images: [...image], workers: [...worker] },
        ...{ compilesAtOnceMax: options.atOnce, compilesPerMinuteMax: options.perMinute },
      };
      await usingServer(options, context, async (client) => {
        const answer = await client.compiles.putCompileTenant({ tenant }, call());
        if (options.json === true) return out(jsonText(PutCompileTenantResponseSchema, answer));
        out(`tenant ${tenantId} set`);
        if (user.length === 0 && issuer === '') {
          context.stderr.write('nobody belongs to it yet: --user or --issuer says who does\n');
        }
      });
    });

  inner('remove <tenant>')
    .description('it gets no tokens any more; those that are out are valid until they expire')
    .action(async (tenantId: string, options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.compiles.removeCompileTenant({ tenantId }, call());
        out(options.json === true ? jsonText(RemoveCompileTenantResponseSchema, answer) : `tenant ${tenantId} removed`);
      });
    });
}

/** `name=value`, where the value may hold a =. */
function claimOption(text: string): readonly [string, string] {
  if (text === '') return ['', ''];
  const at = text.indexOf('=');
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)];
  throw new UsageError(`--claim is ${JSON.stringify(text)}; allowed is a name and a value, e.g. team=render`);
}

const shortDigest = (digest: string): string => digest.replace(/^sha256:/, '').slice(0, 12);
const listed = (digests: readonly string[]): string => digests.map(shortDigest).join(', ') || '-';

function stateOf({ alive, draining, silent }: CompileWorker): string {
  if (!alive) return `silent for ${span(silent === undefined ? 0 : durationMs(silent))}`;
  return draining ? 'draining' : 'ready';
}

const tenantColumns: readonly Column<CompileTenant>[] = [
  { head: 'TENANT', cell: ({ tenantId }) => tenantId },
  { head: 'STATE', cell: ({ disabled }) => (disabled ? 'disabled' : 'enabled') },
  {
    head: 'MEMBERS',
    cell: ({ users, issuer, claim, claimValue }) =>
      [
        ...users.map(printable),
        ...(issuer === ''
          ? []
          : [`${printable(issuer)}${claim === '' ? '' : ` (${printable(`${claim}=${claimValue}`)})`}`]),
      ].join(', ') || 'nobody',
  },
  { head: 'IMAGES', cell: ({ images }) => (images.length === 0 ? 'any' : listed(images)) },
  { head: 'WORKERS', cell: ({ workers }) => workers.join(', ') || 'any' },
  { head: 'ISOLATION', cell: ({ isolation }) => isolation },
  { head: 'QUOTAS', cell: (tenant) => `${tenant.compilesAtOnceMax} at once, ${tenant.compilesPerMinuteMax} a minute` },
  { head: 'CHANGED', cell: ({ changedBy, changedAt }) => `${ago(changedAt)} ago by ${changedBy}` },
];

const workerColumns: readonly Column<CompileWorker>[] = [
  { head: 'WORKER', cell: ({ workerId }) => workerId },
  { head: 'STATE', cell: stateOf },
  { head: 'ADDRESS', cell: ({ address }) => address },
  { head: 'ISOLATION', cell: ({ isolation, driver }) => `${isolation} (${printable(driver)})` },
  { head: 'SLOTS FREE', cell: ({ slotsFree, slotsTotal }) => `${slotsFree} of ${slotsTotal}` },
  { head: 'LOAD', cell: ({ load }) => `${Math.round(load * 100)}%` },
  { head: 'SANDBOXES', cell: ({ sandboxes }) => sandboxesText(sandboxes) },
  { head: 'IMAGES HELD', cell: ({ imagesHeld }) => listed(imagesHeld) },
  { head: 'WOULD PULL', cell: ({ imagesAdvertised }) => listed(imagesAdvertised) },
];

function sandboxesText(sandboxes: CompileWorker['sandboxes']): string {
  const counts = new Map<string, number>();
  for (const { tenantId } of sandboxes) counts.set(tenantId, (counts.get(tenantId) ?? 0) + 1);
  return [...counts].map(([tenantId, count]) => `${count} of ${printable(tenantId)}`).join(', ') || '-';
}

const entryColumns: readonly Column<CompileEntry>[] = [
  {
    head: 'STARTED',
    cell: ({ startedAt }) => (startedAt === undefined ? '' : `${timestampDate(startedAt).toISOString().slice(0, 19)}Z`),
  },
  { head: 'TENANT', cell: ({ tenantId }) => printable(tenantId) },
  { head: 'WORKER', cell: ({ workerId }) => workerId },
  { head: 'SANDBOX', cell: ({ sandboxId, isolation }) => `${printable(sandboxId) || '-'} (${printable(isolation)})` },
  { head: 'IMAGE', cell: ({ imageDigest }) => shortDigest(printable(imageDigest)) },
  { head: 'EXIT', cell: ({ exitCode }) => String(exitCode) },
  { head: 'TOOK', cell: ({ took }) => span(took === undefined ? 0 : durationMs(took)) },
  { head: 'FLAGS', cell: ({ flags }) => printable(flags.join(' ')).slice(0, 80) },
];
