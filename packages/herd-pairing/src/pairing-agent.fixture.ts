import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HerdService } from '@drover/herd-protocol';
import { silentLogger, systemClock, type Clock, type LogFields, type Logger } from '@drover/lease-kit';
import { createRpcHost, type RpcHost } from '@drover/rpc-host';
import { parseNetworks } from './agent/address-networks.ts';
import { createHerdAudit } from './agent/herd-audit.ts';
import { HerdClients } from './agent/herd-clients.ts';
import { createHerdGate, herdCallTable, herdCallerFrom } from './agent/herd-gate.ts';
import { HerdIdentity } from './agent/herd-identity.ts';
import { PairingCodes } from './agent/pairing-codes.ts';
import { PairingTokens } from './agent/pairing-tokens.ts';
import { registerPairingService } from './agent/register-pairing-service.ts';

/** What an agent's log said. */
export interface LogLine {
  readonly event?: unknown;
  readonly message: string;
}

/** An agent that lets clients in, over real TLS on loopback; its herd service answers who calls. */
export interface PairingAgent extends AsyncDisposable {
  readonly dir: string;
  readonly identity: HerdIdentity;
  readonly codes: PairingCodes;
  readonly tokens: PairingTokens;
  readonly clients: HerdClients;
  readonly host: RpcHost;
  readonly address: { readonly host: string; readonly port: number };
  readonly log: readonly LogLine[];
}

export interface PairingAgentOptions {
  readonly agentId?: string;
  readonly dir?: string;
  readonly clock?: Clock;
  readonly clientLifetimeMs?: number;
  readonly unpaired?: readonly string[];
}

export async function startPairingAgent(options: PairingAgentOptions = {}): Promise<PairingAgent> {
  const { agentId = 'agent-1', clock, clientLifetimeMs, unpaired = [] } = options;
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'drover-herd-'));
  const log: LogLine[] = [];
  const line = ({ event }: LogFields, message: string): void => void log.push({ event, message });
  const logger: Logger = { ...silentLogger, info: line, warn: line, error: line, child: () => logger };
  const deps = clock === undefined ? {} : { clock };
  const identity = await HerdIdentity.open({ dir: join(dir, 'identity'), agentId, name: 'box' }, deps);
  const codes = new PairingCodes(dir, deps);
  const tokens = new PairingTokens(dir, deps);
  const clients = new HerdClients(dir, deps);
  const audit = createHerdAudit({ logger, clock: clock ?? systemClock });
  const gate = createHerdGate({ table: herdCallTable, clients, audit, unpaired: parseNetworks(unpaired) });
  const tls = () => {
    const { cert, key } = identity.certificate;
    return { cert, key, clients: { ca: identity.authorityPem, required: false } };
  };
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0, tls: tls() },
    {
      principalOf: (call) => gate.enter(call),
      checkMethods: (methods) => gate.checkMethods(methods),
      routes(router) {
        registerPairingService(router, { identity, codes, tokens, clients, audit, ...deps }, { clientLifetimeMs });
        router.service(HerdService, {
          getAgent: (_, { values }) => ({ agentId, name: herdCallerFrom(values).name }),
        });
      },
    },
  );
  identity.onCertificate(() => host.reloadTls(tls()));
  const watching = clients.watchRevoked((clientId) => {
    host.disconnect(({ certificateNames }) => certificateNames?.includes(`herd:${clientId}`) === true);
  });
  await host.start();
  return {
    dir,
    identity,
    codes,
    tokens,
    clients,
    host,
    address: { host: '127.0.0.1', port: host.address.port },
    log,
    async [Symbol.asyncDispose]() {
      watching[Symbol.dispose]();
      identity[Symbol.dispose]();
      await host.stop({ graceMs: 0 });
      if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
    },
  };
}
