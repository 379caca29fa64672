import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRemoteContentStore } from '@drover/content-store-remote';
import { PairingTokens } from '@drover/herd-pairing/agent';
import { HerdTrust, pairWithAgent } from '@drover/herd-pairing/client';
import type { AgentAddress, FoundAgent, HerdConnector } from '@drover/herd-protocol';
import { createHerdConnector } from '@drover/herd-service/client';

/** Agents on this machine, each a process of its own, and a client that is paired with them. */
export interface HerdAgents extends AsyncDisposable {
  readonly agents: readonly FoundAgent[];
  readonly connector: HerdConnector;
  /** A folder for the benchmark, which goes when this does. */
  readonly folder: string;
}

/** How many agents, with how many slots each. */
export interface HerdAgentsOptions {
  readonly count: number;
  readonly slots: number;
}

const agentApp = fileURLToPath(new URL('../../../apps/agent/src/main.ts', import.meta.url));

/** Starts the agent's app as a user would, with no server, and pairs with each by a token, over TLS on the loopback. */
export async function startHerdAgents({ count, slots }: HerdAgentsOptions, signal: AbortSignal): Promise<HerdAgents> {
  await using running = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'drover-bench-herd-'));
  running.defer(() => rm(folder, { recursive: true, force: true }));
  const trust = new HerdTrust(join(folder, 'client'));
  const agents = await Promise.all(
    Array.from({ length: count }, async (_, i): Promise<FoundAgent> => {
      const stateDir = join(folder, `agent-${i}`);
      const port = await freePort();
      // A machine's slots are counted in cores; four agents on one machine have more than it has.
      const flags = [
        ...['--agent-id', `bench-${i}`, '--state-dir', stateDir, '--log-level', 'warn'],
        ...['--herd-enabled', '--herd-host', '127.0.0.1', '--herd-port', String(port)],
        ...['--herd-slots', String(slots), '--resources-cores', String(slots), '--herd-discovery', 'false'],
      ];
      const child = fork(agentApp, flags, {
        execArgv: ['--conditions=@drover/source'],
        stdio: ['ignore', process.stderr, 'inherit', 'ipc'],
      });
      running.defer(() => ended(child));
      const [message] = (await Promise.race([
        once(child, 'message', { signal }),
        once(child, 'exit', { signal }).then(() => Promise.reject(new Error(`agent ${i} ended before it was ready`))),
      ])) as [{ readonly agentId: string }];
      const address: AgentAddress = { host: '127.0.0.1', port };
      const { text } = new PairingTokens(join(stateDir, 'herd')).create({ note: 'benchmark' });
      await pairWithAgent({ address, secret: { token: text }, clientName: 'benchmark' }, trust, signal);
      return {
        agentId: message.agentId,
        protocol: 'drover',
        name: `agent-${i}`,
        addresses: [address],
        availability: 'available',
        version: '',
        architecture: '',
        processors: slots,
        slots: { total: slots, free: slots },
        ram: { total: 0, free: 0 },
        load: 0,
        gpus: [],
        pools: [],
        trusted: true,
      };
    }),
  );
  const connector = createHerdConnector(
    {},
    {
      trust: {
        async tlsFor(agent, abort) {
          const { agentId: __, ...tls } = await trust.tlsFor(agent, abort);
          return tls;
        },
      },
      contentOver: (transport) => createRemoteContentStore({ compression: 'never' }, { transport }),
    },
  );
  const moved = running.move();
  return { agents, connector, folder, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('the system gave no port');
  return address.port;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  const late = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await exit;
  clearTimeout(late);
}
