import type { BlobPins, ContentStore } from '@drover/content-store';
import type { HerdJobRunner } from '@drover/herd-protocol';
import { silentLogger, silentMeter, systemClock, type Clock, type Logger, type Meter } from '@drover/lease-kit';
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import type { DiscoveryAnswer } from '../wire/index.ts';
import { fullBridgeOptions, type HerdBridgeOptions } from './bridge-options.ts';
import { clientNetworks } from './client-networks.ts';
import { ClientSocket } from './client-socket.ts';
import { openDiscoveryResponder } from './discovery-responder.ts';
import { JobLine } from './job-line.ts';
import { portTaken } from './port-taken.ts';
import { serveClient } from './serve-client.ts';

/** What a machine is, for clients that choose. */
export interface HerdMachine {
  /** All logical processors: clients leave one free by themselves where their users want that. */
  readonly processors: number;
  /** `Win-64`, `Win-32`, `Linux-64` or `Linux-32`: which programs run here; `N/A`: none of those that clients have. */
  readonly architecture: string;
  /** How busy the processors are, 0 to 100. */
  readonly loadPercent: number;
  /** Of all memory. */
  readonly memoryBytes: number;
  /** Version of the CUDA driver; absent: none. */
  readonly cuda?: string | undefined;
  /** Further elements of the answer, which original clients carry along unread. */
  readonly extra?: Readonly<Record<string, string>> | undefined;
}

/** What a bridge works with. */
export interface HerdBridgeDeps {
  readonly runner: HerdJobRunner;
  /** The runner's: inputs are put there, and outputs taken from there. */
  readonly content: ContentStore & BlobPins;
  /** What this machine is now; asked at most twice a second. */
  readonly describe: () => HerdMachine | Promise<HerdMachine>;
  /** Default: silent. */
  readonly logger?: Logger | undefined;
  /** Default: silent. */
  readonly meter?: Meter | undefined;
  /** Default: the clock of the process. */
  readonly clock?: Clock | undefined;
}

/** An agent of the original Herd protocol. Disposing cancels its jobs and tells their clients. */
export interface HerdBridge extends AsyncDisposable {
  /** Where it answers discovery. */
  readonly discoveryPort: number;
  /** Where it takes jobs. */
  readonly jobPort: number;
}

/** The version of the original agents whose protocol is spoken. */
const agentVersion = '1.5.0.0';

/**
 * Answers original Herd clients, and has their jobs run. Whoever is in one of the networks runs programs as this process's user:
 * the protocol has no identity and no encryption. Throws `HERD_NETWORKS_MISSING`, `HERD_NETWORK_INVALID`, `HERD_PORT_TAKEN`.
 */
export async function createHerdBridge(given: HerdBridgeOptions, deps: HerdBridgeDeps): Promise<HerdBridge> {
  const options = fullBridgeOptions(given);
  const networks = clientNetworks(options.networks);
  const { runner, content } = deps;
  const clock = deps.clock ?? systemClock;
  const logger = deps.logger ?? silentLogger;
  const meter = deps.meter ?? silentMeter;
  const visits = meter.createCounter('drover_herd_legacy_visits_total', {
    description: 'Connections of original Herd clients, by how they ended.',
  });
  await rm(options.spoolFolder, { recursive: true, force: true });
  await mkdir(options.spoolFolder, { recursive: true, mode: 0o700 });
  await using parts = new AsyncDisposableStack();
  const line = new JobLine(options.jobsMax, options.waitingMax);
  const stopping = new AbortController();
  const served = new Set<Promise<void>>();

  const visit = async (socket: Socket): Promise<void> => {
    const pace = { stallMs: options.stallMs, receivedBytesMin: 256 * 1024 };
    const client = new ClientSocket(socket, pace, clock);
    const visitLogger = logger.child({ client: client.address });
    const end = await serveClient(client, {
      options,
      runner,
      content,
      line,
      clock,
      logger: visitLogger,
      stopping: stopping.signal,
    });
    visits.add(1, { end });
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (!networks.has(socket.remoteAddress ?? '')) {
      visits.add(1, { end: 'not-allowed' });
      logger.debug({ client: socket.remoteAddress }, 'a connection from a network that is not allowed');
      socket.destroy();
      return;
    }
    const ended = visit(socket).finally(() => served.delete(ended));
    served.add(ended);
  });
  // Those in line, those whose jobs run, and some that have yet to say what they want.
  server.maxConnections = options.waitingMax + options.jobsMax + 16;
  server.on('drop', () => visits.add(1, { end: 'too-many' }));
  await listen(server, options.host, options.jobPort);
  parts.defer(async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    stopping.abort(new Error('this agent stops'));
    await Promise.all(served);
    await closed;
  });
  server.on('error', (err) => logger.warn({ err }, `jobs of the original Herd protocol: ${err.message}`));

  const discovery = parts.use(
    await openDiscoveryResponder(options.host, options.discoveryPort, {
      networks,
      clock,
      logger,
      datagrams: meter.createCounter('drover_herd_legacy_datagrams_total', {
        description: 'Discovery datagrams of the original Herd protocol, by what became of them.',
      }),
      async answer(): Promise<DiscoveryAnswer> {
        const machine = await deps.describe();
        const { open, slotsFree } = runner.standing();
        return {
          version: agentVersion,
          processorId: '00000000-0000-0000-0000-000000000000',
          processors: machine.processors,
          architecture: machine.architecture,
          loadPercent: machine.loadPercent,
          memoryBytes: machine.memoryBytes,
          cuda: machine.cuda ?? 'N/A',
          state: open && slotsFree > 0 && !line.isFull ? 'available' : 'busy',
          extra: machine.extra ?? {},
        };
      },
    }),
  );
  const jobPort = (server.address() as AddressInfo).port;
  logger.warn(
    { networks: options.networks, discoveryPort: discovery.port, jobPort },
    `the original Herd protocol is on: it has no identity and no encryption, and whoever reaches this machine from ` +
      `${options.networks.join(', ')} runs any program as user ${userName()}`,
  );
  const moved = parts.move();
  return { discoveryPort: discovery.port, jobPort, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen({ host, port, exclusive: true }, listening.resolve);
  try {
    await listening.promise;
  } catch (error) {
    throw portTaken(error, 'TCP', host, port);
  } finally {
    server.off('error', listening.reject);
  }
}

/** The name of the process's user; a container's may have none. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}
