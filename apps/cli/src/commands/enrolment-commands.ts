import { create } from '@bufbuild/protobuf';
import { durationFromMs, timestampMs, type Timestamp } from '@bufbuild/protobuf/wkt';
import {
  EnrolmentState,
  GetEnrolmentResponseSchema,
  ListEnrolmentTokensResponseSchema,
  ListPendingEnrolmentsResponseSchema,
  type AgentStatus,
  type Enrolment,
  type EnrolmentToken,
  type PendingEnrolment,
} from '@drover/control-api';
import { isDroverError } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import type { Command } from 'commander';
import {
  durationOption,
  countOption,
  usingServer,
  UsageError,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, conditionWord } from '../output/words.ts';

interface JsonOptions extends ServerOptions {
  readonly json?: boolean;
}

const pageSize = 1_000;

/** `drover enrolment-tokens …` and, below `drover agents`, what operators decide about who is an agent. */
export function addEnrolmentCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const served = (command: Command): Command => withServer(command, context.env);
  const call = () => callOptions(context.signal);
  const list = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];
  const run = <Options extends ServerOptions>(options: Options, work: (client: FleetClient) => Promise<void>) =>
    usingServer(options, context, work);

  const tokens = program.command('enrolment-tokens').description('tokens with which machines become agents');
  served(tokens.command('create'))
    .description('make a registration token; it is printed once')
    .option('--uses <count>', 'agents that may enrol with it', countOption('--uses', 1, 1_000_000), 1)
    .option('--reusable', 'any number of agents may enrol with it')
    .option('--expires <duration>', 'how long it is valid, e.g. 30min or 7d', '1d')
    .option('--pool <name>', 'bind its agents to a pool; may be repeated', list)
    .option('--may-replace', 'it may enrol an id anew whose agent has another key, and locks that one out')
    .option('--note <text>', 'what it is for', '')
    .action(
      async (
        options: ServerOptions & {
          readonly uses: number;
          readonly reusable?: boolean;
          readonly expires: string;
          readonly pool?: readonly string[];
          readonly mayReplace?: boolean;
          readonly note: string;
        },
      ) => {
        const validFor = durationFromMs(durationOption('--expires')(options.expires));
        await run(options, async ({ enrolment }) => {
          const { uses, reusable = false, pool = [], mayReplace = false, note } = options;
          const request = { validFor, usesMax: reusable ? 0 : uses, pools: [...pool], mayReplace, note };
          const answer = await enrolment.createEnrolmentToken(request, call());
          // The token alone, for a script to take.
          out(answer.secret);
          const { tokenId = '' } = answer.token ?? {};
          context.stderr.write(`token ${tokenId}; give it to an agent as DROVER_AGENT_SERVER_ENROLMENT_TOKEN\n`);
        });
      },
    );
  withJson(served(tokens.command('list')))
    .description('the registration tokens, without their secrets')
    .action((options: JsonOptions) =>
      run(options, async ({ enrolment }) => {
        const answer = await enrolment.listEnrolmentTokens({ pageSize }, call());
        out(
          options.json === true
            ? jsonText(ListEnrolmentTokensResponseSchema, answer)
            : tableText(tokenColumns, answer.tokens, 'no registration tokens'),
        );
      }),
    );
  served(tokens.command('revoke').argument('<token>', 'its id, as "list" shows it'))
    .description('nobody enrols with the token any more; agents that did stay')
    .action((tokenId: string, options: ServerOptions) =>
      run(options, async ({ enrolment }) => {
        await enrolment.revokeEnrolmentToken({ tokenId }, call());
        out(`token ${printable(tokenId)} is revoked`);
      }),
    );

  const agents = program.commands.find((command) => command.name() === 'agents')!;
  // Or else `agents` would take the options of the commands below it for its own.
  agents.enablePositionalOptions();
  withJson(served(agents.command('pending')))
    .description('machines that wait to be approved')
    .action((options: JsonOptions) =>
      run(options, async ({ enrolment }) => {
        const answer = await enrolment.listPendingEnrolments({ pageSize }, call());
        out(
          options.json === true
            ? jsonText(ListPendingEnrolmentsResponseSchema, answer)
            : tableText(pendingColumns, answer.pending, 'no machine waits'),
        );
      }),
    );
  served(agents.command('approve').argument('[agent...]', 'ids of machines that wait, or of revoked agents'))
    .description('enrol machines that wait; compare the key with what the agent has logged')
    .option('--all', 'all that wait and replace nobody')
    .option('--key <thumbprint>', 'which one, where several machines ask for one id')
    .option('--pool <name>', 'bind them to a pool; may be repeated', list)
    .action(
      async (
        ids: readonly string[],
        options: ServerOptions & {
          readonly all?: boolean;
          readonly key?: string;
          readonly pool?: readonly string[];
        },
      ) => {
        checkWhich(ids, options);
        await run(options, async (client) => {
          const { key = '', pool = [] } = options;
          const wanted: readonly Which[] =
            options.all === true
              ? await waiting(client, context.signal)
              : ids.map((agentId) => ({ agentId, keyThumbprint: key }));
          for (const { agentId, keyThumbprint } of wanted) {
            await client.enrolment.approveEnrolment({ agentId, keyThumbprint, pools: [...pool] }, call());
            out(`agent ${printable(agentId)} is enrolled`);
          }
          if (wanted.length === 0) out('no machine waits');
        });
      },
    );
  served(agents.command('reject').argument('<agent>', 'id of a machine that waits'))
    .description('send a machine away that waits to be approved')
    .option('--key <thumbprint>', 'which one, where several machines ask for the id', '')
    .action((agentId: string, options: ServerOptions & { readonly key: string }) =>
      run(options, async ({ enrolment }) => {
        await enrolment.rejectEnrolment({ agentId, keyThumbprint: options.key }, call());
        out(`the machine is not agent ${printable(agentId)}`);
      }),
    );
  served(agents.command('revoke').argument('<agent>'))
    .description('end the session of an agent at once, and keep its key out')
    .action((agentId: string, options: ServerOptions) =>
      run(options, async ({ enrolment }) => {
        await enrolment.revokeAgent({ agentId }, call());
        out(`agent ${printable(agentId)} is revoked; "drover agents approve" gives its key back`);
      }),
    );
  withJson(served(agents.command('enrolment').argument('<agent>')))
    .description('how an agent is enrolled')
    .action((agentId: string, options: JsonOptions) =>
      run(options, async (client) => {
        const enrolment = await enrolmentOf(client, agentId, context.signal);
        if (options.json === true) {
          return out(jsonText(GetEnrolmentResponseSchema, create(GetEnrolmentResponseSchema, { enrolment })));
        }
        const status = await statusOf(client, agentId, context.signal);
        for (const [name, value] of factsOf(agentId, status, enrolment)) {
          out(`${name.padEnd(12)} ${printable(value)}`);
        }
      }),
    );
}

interface Which {
  readonly agentId: string;
  readonly keyThumbprint: string;
}

function checkWhich(ids: readonly string[], { all, key }: { readonly all?: boolean; readonly key?: string }): void {
  if ((all === true) !== (ids.length === 0)) throw new UsageError('name agents, or say --all');
  if (key !== undefined && ids.length !== 1) throw new UsageError('--key goes with one agent');
}

/** Those that lock nobody out: an id that changes hands is for a person to look at. */
async function waiting({ enrolment }: FleetClient, signal: AbortSignal): Promise<readonly Which[]> {
  const found: PendingEnrolment[] = [];
  for (let pageToken = ''; ;) {
    const page = await enrolment.listPendingEnrolments({ pageSize, pageToken }, callOptions(signal));
    found.push(...page.pending);
    if (page.nextPageToken === '') break;
    pageToken = page.nextPageToken;
  }
  const seen = Map.groupBy(found, ({ agentId }) => agentId);
  return found.filter(({ agentId, replaces }) => !replaces && seen.get(agentId)?.length === 1);
}

async function enrolmentOf({ enrolment }: FleetClient, agentId: string, signal: AbortSignal) {
  try {
    return (await enrolment.getEnrolment({ agentId }, callOptions(signal))).enrolment;
  } catch (error) {
    if (isDroverError(droverErrorFromConnect(error), 'ENROLMENT_NOT_FOUND')) return undefined;
    throw error;
  }
}

async function statusOf({ fleet }: FleetClient, agentId: string, signal: AbortSignal) {
  for (let pageToken = ''; ;) {
    const page = await fleet.listAgents({ pageSize, pageToken }, callOptions(signal));
    const found = page.agents.find((agent) => agent.agentId === agentId);
    if (found !== undefined || page.nextPageToken === '') return found;
    pageToken = page.nextPageToken;
  }
}

function factsOf(
  agentId: string,
  status: AgentStatus | undefined,
  enrolment: Enrolment | undefined,
): readonly (readonly [name: string, value: string])[] {
  const state =
    status === undefined ? 'never had a session' : status.online ? conditionWord(status.condition) : 'offline';
  const first = [
    ['agent', agentId],
    ['state', state],
  ] as const;
  if (enrolment === undefined) return [...first, ['enrolled', 'no']];
  const { generation, keyThumbprint, tokenId, decidedBy, pools, credentialExpiresAt } = enrolment;
  const by = tokenId === '' ? `approved by ${decidedBy}` : `with token ${tokenId}`;
  return [
    ...first,
    ['enrolled', `${timeText(enrolment.enrolledAt)}, ${by}`],
    ...(enrolment.state === EnrolmentState.REVOKED
      ? [['revoked', `${timeText(enrolment.revokedAt)}, by ${decidedBy}`] as const]
      : []),
    ['generation', String(generation)],
    ['key', keyThumbprint],
    ['credential', credentialExpiresAt === undefined ? 'none yet' : `until ${timeText(credentialExpiresAt)}`],
    ['bound to', pools.length === 0 ? 'no pools' : pools.join(', ')],
  ];
}

function timeText(time: Timestamp | undefined): string {
  return time === undefined ? '-' : new Date(timestampMs(time)).toISOString().replace(/\.\d+Z$/, 'Z');
}

function tokenState({ revokedAt, expiresAt, uses, usesMax }: EnrolmentToken): string {
  if (revokedAt !== undefined) return 'revoked';
  if (expiresAt !== undefined && timestampMs(expiresAt) <= Date.now()) return 'expired';
  return usesMax !== 0 && uses >= usesMax ? 'used up' : 'valid';
}

const tokenColumns = [
  { head: 'TOKEN', cell: (token: EnrolmentToken) => token.tokenId },
  { head: 'STATE', cell: tokenState },
  { head: 'USES', cell: ({ uses, usesMax }: EnrolmentToken) => `${uses}/${usesMax === 0 ? 'any' : usesMax}` },
  { head: 'EXPIRES', cell: (token: EnrolmentToken) => timeText(token.expiresAt) },
  { head: 'POOLS', cell: (token: EnrolmentToken) => token.pools.join(', ') },
  { head: 'REPLACES', cell: (token: EnrolmentToken) => (token.mayReplace ? 'yes' : 'no') },
  { head: 'BY', cell: (token: EnrolmentToken) => token.createdBy },
  { head: 'NOTE', cell: (token: EnrolmentToken) => token.note },
];

const pendingColumns = [
  { head: 'AGENT', cell: (one: PendingEnrolment) => one.agentId },
  { head: 'NAME', cell: (one: PendingEnrolment) => one.name },
  { head: 'ADDRESS', cell: (one: PendingEnrolment) => one.address },
  { head: 'POOLS', cell: (one: PendingEnrolment) => one.pools.join(', ') },
  { head: 'ASKED', cell: (one: PendingEnrolment) => ago(one.requestedAt) },
  { head: 'REPLACES', cell: (one: PendingEnrolment) => (one.replaces ? 'an agent with another key' : '-') },
  { head: 'KEY', cell: (one: PendingEnrolment) => one.keyThumbprint },
];
