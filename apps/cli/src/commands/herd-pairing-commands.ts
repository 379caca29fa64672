import { discoveryPortDefault, parseAgentHost } from '@drover/herd-discovery';
import { HerdTrust, herdTrustDir, pairWithAgent, type TrustedAgent } from '@drover/herd-pairing/client';
import type { Command } from 'commander';
import { hostname, userInfo } from 'node:os';
import { UsageError, withJson, type CommandContext } from '../command-context.ts';
import { printable, tableText } from '../output/print-table.ts';

interface PairOptions {
  readonly code?: string;
  readonly token?: string;
  readonly name?: string;
  readonly replace?: boolean;
}

/** `drover herd pair`, `paired` and `unpair`: which agents this user may send jobs to. */
export function addHerdPairingCommands(herd: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const openTrust = (): HerdTrust => new HerdTrust(herdTrustDir(context.env));

  herd
    .command('pair')
    .argument('<host>', 'the agent’s machine, HOST or HOST:PORT')
    .description('be let in by an agent, with a code that "drover herd code" shows on its machine, or with a token')
    .option('--code <code>', 'the code, XXXX-XXXX')
    .option('--token <token>', 'a token of "drover herd token create"; better in the environment [DROVER_HERD_TOKEN]')
    .option('--name <text>', 'who you are, for the agent’s people; absent: user@machine')
    .option('--replace', 'it may take the place of another agent of the same id that you are paired with')
    .action(async (host: string, options: PairOptions) => {
      const secret = secretOf(options, context.env);
      const address = parseAgentHost(host, discoveryPortDefault);
      const clientName = options.name ?? `${userInfo().username}@${hostname()}`;
      if (clientName.length > 128) throw new UsageError('--name is too long; allowed are 128 characters');
      const trust = openTrust();
      const { agentId, name, notAfterMs } = await pairWithAgent(
        { address, secret, clientName, replace: options.replace },
        trust,
        context.signal,
      );
      out(
        `paired with ${printable(name)}, agent ${agentId}, until ${timeText(notAfterMs)}, and longer when it is used`,
      );
    });
  withJson(herd.command('paired'))
    .description('the agents that have let you in')
    .action((options: { readonly json?: boolean }) => {
      const agents = openTrust().list();
      if (options.json === true) return out(JSON.stringify({ agents: agents.map(agentJson) }, undefined, 2));
      out(tableText(columns, agents, 'you are paired with no agent'));
    });
  herd
    .command('unpair')
    .argument('<agent>', 'its id, as "paired" shows it')
    .description('forget an agent; "drover herd revoke" on its machine has it forget you')
    .action((agentId: string) => {
      openTrust().forget(agentId);
      out(`not paired with agent ${agentId} any more`);
    });
}

function secretOf({ code, token }: PairOptions, env: CommandContext['env']) {
  if (code !== undefined && token !== undefined) throw new UsageError('--code and --token exclude each other');
  if (code !== undefined) return { code };
  const shown = token ?? env['DROVER_HERD_TOKEN'];
  if (shown !== undefined && shown !== '') return { token: shown };
  throw new UsageError('say --code, as "drover herd code" shows it on the agent’s machine, or --token');
}

function placeOf({ host, port }: TrustedAgent['address']): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function agentJson({ key, address, pairedAtMs, certifiedAtMs, notAfterMs, ...agent }: TrustedAgent) {
  return {
    ...agent,
    key: Buffer.from(key).toString('base64'),
    address: placeOf(address),
    pairedAt: timeText(pairedAtMs),
    certifiedAt: timeText(certifiedAtMs),
    notAfter: timeText(notAfterMs),
  };
}

const columns = [
  { head: 'AGENT', cell: (agent: TrustedAgent) => agent.agentId },
  { head: 'NAME', cell: (agent: TrustedAgent) => agent.name },
  { head: 'PAIRED AT', cell: ({ address }: TrustedAgent) => placeOf(address) },
  { head: 'PAIRED', cell: (agent: TrustedAgent) => timeText(agent.pairedAtMs) },
  {
    head: 'UNTIL',
    cell: ({ notAfterMs }: TrustedAgent) => (notAfterMs > Date.now() ? timeText(notAfterMs) : 'ended: pair anew'),
  },
];
