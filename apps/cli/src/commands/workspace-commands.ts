import { durationFromMs } from '@bufbuild/protobuf/wkt';
import {
  ListWorkspacesResponseSchema,
  PutWorkspaceResponseSchema,
  RemoveWorkspaceResponseSchema,
  WorkspaceRemovalPolicy,
  type WorkspaceDefinition,
} from '@drover/control-api';
import { Option, InvalidArgumentError, type Command } from 'commander';
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
import { callOptions } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago } from '../output/words.ts';
import { agentsWanted, tellOfWishes, withdraw } from './agent-task-commands.ts';

interface ListOptions extends ServerOptions {
  readonly json?: boolean;
}

interface SetOptions extends ListOptions {
  readonly revision: string;
  readonly folder: string;
  readonly pool: readonly string[];
  readonly provider: string;
  readonly submodules?: boolean;
  readonly sparse: readonly string[];
  readonly depth: number;
  readonly remove: WorkspaceRemovalPolicy;
}

interface ConformOptions extends ListOptions {
  readonly pool: string;
  readonly all?: boolean;
  readonly clean?: boolean;
  readonly reason: string;
  readonly atMost: number;
  readonly within?: number;
  readonly wait?: boolean;
  readonly withdraw?: boolean;
}

/** `drover workspaces …`: the long-lived workspaces that agents keep. */
export function addWorkspaceCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const call = () => callOptions(context.signal);
  const workspaces = program.command('workspaces').description('the long-lived workspaces that agents keep');
  const inner = (name: string): Command => withJson(withServer(workspaces.command(name), context.env));

  inner('list')
    .description('the workspaces that are defined')
    .action(async (options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.workspaces.listWorkspaces({ pageSize: 1_000 }, call());
        const table = (): string => tableText(workspaceColumns, answer.workspaces, 'no workspaces');
        out(options.json === true ? jsonText(ListWorkspacesResponseSchema, answer) : table());
      });
    });

  inner('set <name> <source>')
    .description('define a workspace, or replace its definition; its agents conform to it by themselves')
    .option(
      '--revision <name>',
      'a branch, tag, ref or full commit id; if not said, what the source has as its own',
      '',
    )
    .option('--folder <path>', "below the agents' root of workspaces; if not said, the name", '')
    .option('--pool <name...>', 'pools whose agents keep it; if not said, every agent does', [])
    .option('--provider <kind>', 'what kind of source it is', 'git')
    .option('--submodules', 'with its submodules')
    .option('--sparse <pattern...>', 'which files to bring, as in .gitignore; if not said, all', [])
    .option(
      '--depth <count>',
      'how many commits of the history; if not said, all',
      countOption('--depth', 1, 1_000_000),
      0,
    )
    .addOption(
      new Option(
        '--remove <what>',
        'what is removed with each sync: nothing, untracked, or ignored (which is untracked as well)',
      )
        .argParser(removalOption)
        .default(WorkspaceRemovalPolicy.NOTHING, 'nothing'),
    )
    .action(async (name: string, source: string, options: SetOptions) => {
      const { revision, folder, pool, provider, submodules = false, sparse, depth, remove } = options;
      const workspace = {
        name,
        source,
        revision,
        folder,
        pools: [...pool],
        provider,
        submodules,
        sparse: [...sparse],
        depth,
        removal: remove,
      };
      await usingServer(options, context, async (client) => {
        const answer = await client.workspaces.putWorkspace({ workspace }, call());
        out(options.json === true ? jsonText(PutWorkspaceResponseSchema, answer) : `workspace ${name} set`);
      });
    });

  inner('remove <name>')
    .description('agents are no longer to keep it; its folder stays, unless the server has them remove it')
    .action(async (name: string, options: ListOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.workspaces.removeWorkspace({ name }, call());
        out(options.json === true ? jsonText(RemoveWorkspaceResponseSchema, answer) : `workspace ${name} removed`);
      });
    });
}

/** `drover agents conform`: below the command `agents`. */
export function addConformCommand(agents: Command, context: CommandContext): void {
  withJson(withServer(agents.command('conform').argument('[agents...]', 'ids of agents'), context.env))
    .description('sync the workspaces of agents: each is drained first; a back-off ends')
    .option('--pool <name>', 'all agents of a pool instead', '')
    .option('--all', 'every agent that is online instead')
    .option('--clean', 'remove what is not tracked, ignored files too, this once')
    .option('--reason <text>', 'why, for people', '')
    .option(
      '--at-most <count>',
      "so many at once, besides the server's own cap",
      countOption('--at-most', 1, 1_000_000),
      0,
    )
    .option(
      '--within <duration>',
      'how long it is wanted of an agent that is away; 24h if not said',
      durationOption('--within', 1_000),
    )
    .option('--wait', 'until each is done or has failed; the exit code says which')
    .option('--withdraw', 'want it no more; what is under way is cancelled')
    .action(async (ids: string[], options: ConformOptions) => {
      const ways = [ids.length > 0, options.pool !== '', options.all === true].filter(Boolean).length;
      if (ways !== 1) {
        throw new UsageError(
          'drover agents conform: name agents by id, or a pool with --pool, or say --all; one of them',
        );
      }
      await usingServer(options, context, async (client) => {
        if (options.withdraw === true) {
          const wanted = options.all === true ? await agentsWanted(client, 'conform', context.signal) : ids;
          if (wanted.length === 0 && options.pool === '') {
            return void context.stdout.write('nothing is wanted of agents\n');
          }
          return withdraw(client, 'conform', { agentIds: wanted, pool: options.pool }, options, context);
        }
        const answer = await client.workspaces.requestConform(
          {
            ...(options.all === true ? {} : { agents: { agentIds: ids, pool: options.pool } }),
            clean: options.clean === true,
            reason: options.reason,
            atOnceMax: options.atMost,
            ...(options.within === undefined ? {} : { expiresAfter: durationFromMs(options.within) }),
          },
          callOptions(context.signal),
        );
        await tellOfWishes(client, 'conform', answer, options, context);
      });
    });
}

function removalOption(text: string): WorkspaceRemovalPolicy {
  const removal = new Map([
    ['nothing', WorkspaceRemovalPolicy.NOTHING],
    ['untracked', WorkspaceRemovalPolicy.UNTRACKED],
    ['ignored', WorkspaceRemovalPolicy.UNTRACKED_AND_IGNORED],
  ]).get(text);
  if (removal !== undefined) return removal;
  throw new InvalidArgumentError('allowed are nothing, untracked and ignored');
}

const removalWords: Readonly<Record<number, string>> = {
  [WorkspaceRemovalPolicy.UNTRACKED]: 'untracked',
  [WorkspaceRemovalPolicy.UNTRACKED_AND_IGNORED]: 'ignored',
};

const workspaceColumns = [
  { head: 'NAME', cell: ({ name }: WorkspaceDefinition) => name },
  { head: 'SOURCE', cell: ({ source }: WorkspaceDefinition) => printable(source) },
  { head: 'REVISION', cell: ({ revision }: WorkspaceDefinition) => revision || '-' },
  { head: 'FOLDER', cell: ({ folder }: WorkspaceDefinition) => folder },
  { head: 'POOLS', cell: ({ pools }: WorkspaceDefinition) => pools.join(', ') || 'every agent' },
  { head: 'OPTIONS', cell: (workspace: WorkspaceDefinition) => optionsText(workspace) || '-' },
  { head: 'CHANGED', cell: ({ changedBy, changedAt }: WorkspaceDefinition) => `${ago(changedAt)} ago by ${changedBy}` },
];

function optionsText({ submodules, sparse, depth, removal }: WorkspaceDefinition): string {
  const removes = removalWords[removal];
  return [
    ...(submodules ? ['submodules'] : []),
    ...(sparse.length === 0 ? [] : [`sparse (${sparse.length})`]),
    ...(depth === 0 ? [] : [`depth ${depth}`]),
    ...(removes === undefined ? [] : [`removes ${removes}`]),
  ].join(', ');
}
