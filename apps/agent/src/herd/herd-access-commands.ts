import type { ListedHerdClient, ListedPairingToken } from '@drover/herd-pairing/agent';
import type { Command } from 'commander';
import type { HerdAccess } from './open-herd-access.ts';

interface AccessOptions {
  readonly stateDir?: string;
  readonly config?: string;
  readonly json?: boolean;
}

/** What the commands write to. */
export interface HerdAccessOutput {
  readonly stdout: Pick<NodeJS.WriteStream, 'write'>;
  readonly stderr: Pick<NodeJS.WriteStream, 'write'>;
}

const defaultTokenLifetime = '1d';

/**
 * `code`, `clients`, `revoke` and `token …`: who is let in by the agent of this machine. They find it by its configuration and need
 * nothing but its state folder; what it takes to run them is loaded when one runs.
 */
export function addHerdAccessCommands(herd: Command, output: HerdAccessOutput = process): void {
  const out = (text: string): void => void output.stdout.write(`${text}\n`);
  const say = (text: string): void => void output.stderr.write(`${text}\n`);
  const here = (command: Command): Command =>
    command
      .option('--state-dir <dir>', 'the state folder of the agent on this machine [DROVER_AGENT_STATE_DIR]')
      .option('-c, --config <file>', 'the TOML file that the agent is run with [DROVER_AGENT_CONFIG]');
  const access = async (options: AccessOptions): Promise<HerdAccess> => {
    const { openHerdAccess } = await import('./open-herd-access.ts');
    return openHerdAccess({ ...options, env: process.env, cwd: process.cwd() });
  };

  here(herd.command('code'))
    .description('on an agent’s machine: show a code that lets one client in')
    .option('--expires <duration>', 'how long it is open, e.g. 10min; absent: as the agent’s herd.code_lifetime says')
    .action(async (options: AccessOptions & { readonly expires?: string }) => {
      const { codes, host, codeLifetimeMs, durationOf } = await access(options);
      const lifetimeMs =
        options.expires === undefined ? codeLifetimeMs : durationOf('--expires', options.expires, '1h');
      const { code, expiresAtMs } = codes.open(lifetimeMs);
      // The code alone, for a script to take.
      out(code);
      say(
        `it lets one client in until ${timeText(expiresAtMs)}; there: drover herd pair ${placeOf(host)} --code ${code}`,
      );
      if (host === undefined)
        say('no agent of this state folder runs in the herd now: herd.enabled = true has it listen');
    });
  here(herd.command('clients'))
    .description('on an agent’s machine: who was let in')
    .option('--json', 'print one JSON document for programs')
    .action(async (options: AccessOptions) => {
      const { clients, tableOf } = await access(options);
      const listed = clients.list();
      if (options.json === true) return out(JSON.stringify({ clients: listed.map(clientJson) }, undefined, 2));
      out(tableOf(clientColumns, listed, 'nobody was let in'));
    });
  here(herd.command('revoke').argument('<client>', 'its id, as "clients" shows it'))
    .description('on an agent’s machine: do nothing more for a client, and end its connections and jobs')
    .action(async (clientId: string, options: AccessOptions) => {
      const { clients } = await access(options);
      const { name } = clients.revoke(clientId);
      out(`client ${clientId}${name === '' ? '' : ` (${name})`} is revoked; a new code lets it in again`);
    });

  const tokens = herd
    .command('token')
    .description('on an agent’s machine: tokens for clients where nobody reads a code');
  here(tokens.command('create'))
    .description('make a token; it is printed once')
    .option('--uses <count>', 'clients that it may let in', '1')
    .option('--reusable', 'any number of clients')
    .option('--expires <duration>', 'how long it is valid, e.g. 30min or 7d', defaultTokenLifetime)
    .option('--note <text>', 'what it is for', '')
    .action(
      async (
        options: AccessOptions & {
          readonly uses: string;
          readonly reusable?: boolean;
          readonly expires: string;
          readonly note: string;
        },
      ) => {
        const { tokens: kept, host, durationOf, countOf } = await access(options);
        const lifetimeMs = durationOf('--expires', options.expires, '365d');
        const usesMax = options.reusable === true ? undefined : countOf('--uses', options.uses, 1_000_000);
        const { token, text } = kept.create({ note: options.note.slice(0, 256), lifetimeMs, usesMax });
        out(text);
        say(`token ${token.tokenId}; on the client’s machine: DROVER_HERD_TOKEN=… drover herd pair ${placeOf(host)}`);
      },
    );
  here(tokens.command('list'))
    .description('the tokens, without their secrets')
    .option('--json', 'print one JSON document for programs')
    .action(async (options: AccessOptions) => {
      const { tokens: kept, tableOf } = await access(options);
      const listed = kept.list();
      if (options.json === true) return out(JSON.stringify({ tokens: listed.map(tokenJson) }, undefined, 2));
      out(tableOf(tokenColumns, listed, 'no tokens'));
    });
  here(tokens.command('revoke').argument('<token>', 'its id, as "list" shows it'))
    .description('nobody is let in by the token any more; clients that were stay')
    .action(async (tokenId: string, options: AccessOptions) => {
      (await access(options)).tokens.revoke(tokenId);
      out(`token ${tokenId} is revoked`);
    });
}

function placeOf(host: HerdAccess['host']): string {
  return host === undefined ? 'HOST' : `${host.hostName}${host.port === 7614 ? '' : `:${host.port}`}`;
}

function timeText(ms: number | undefined): string {
  return ms === undefined ? 'never' : new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}

function clientJson({ key: _, pairedAtMs, certifiedAtMs, notAfterMs, ...client }: ListedHerdClient) {
  return {
    ...client,
    pairedAt: timeText(pairedAtMs),
    certifiedAt: timeText(certifiedAtMs),
    notAfter: timeText(notAfterMs),
  };
}

function tokenJson({ createdAtMs, expiresAtMs, ...token }: ListedPairingToken) {
  return {
    ...token,
    createdAt: timeText(createdAtMs),
    ...(expiresAtMs === undefined ? {} : { expiresAt: timeText(expiresAtMs) }),
  };
}

const clientColumns = [
  { head: 'CLIENT', cell: (client: ListedHerdClient) => client.clientId },
  { head: 'NAME', cell: (client: ListedHerdClient) => client.name },
  { head: 'STATE', cell: (client: ListedHerdClient) => client.state },
  { head: 'BY', cell: (client: ListedHerdClient) => client.by },
  { head: 'FROM', cell: (client: ListedHerdClient) => client.address },
  { head: 'PAIRED', cell: (client: ListedHerdClient) => timeText(client.pairedAtMs) },
  { head: 'CERTIFICATE UNTIL', cell: (client: ListedHerdClient) => timeText(client.notAfterMs) },
];

const tokenColumns = [
  { head: 'TOKEN', cell: (token: ListedPairingToken) => token.tokenId },
  { head: 'STATE', cell: (token: ListedPairingToken) => token.state },
  { head: 'USES', cell: ({ uses, usesMax }: ListedPairingToken) => `${uses}/${usesMax ?? 'any'}` },
  { head: 'EXPIRES', cell: (token: ListedPairingToken) => timeText(token.expiresAtMs) },
  { head: 'NOTE', cell: (token: ListedPairingToken) => token.note },
];
