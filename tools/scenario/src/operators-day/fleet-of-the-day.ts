import { createClient, type Client, type Interceptor } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { FleetService, JobService, type AgentStatus } from '@drover/control-api';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { StayingProcess } from '../fleet/drover-process.ts';
import type { Machine } from '../fleet/machine.ts';
import { createRunDrover, type RunDrover } from '../fleet/run-drover.ts';

/** What the server says once it listens. */
interface Listening {
  readonly type: 'listening';
  readonly url: string;
}

/** The services that the day asks. */
export interface FleetClients {
  readonly jobs: Client<typeof JobService>;
  readonly fleet: Client<typeof FleetService>;
}

/** One server and its machines, with the two ways in which they are spoken to: commands, and RPC. */
export class FleetOfTheDay implements AsyncDisposable {
  readonly dir: string;
  readonly machines = new Map<string, Machine>();
  readonly adminToken = randomBytes(32).toString('base64url');
  #server: StayingProcess | undefined;
  #url = '';
  #client: FleetClients | undefined;

  constructor(dir: string) {
    this.dir = dir;
    mkdirSync(dir, { recursive: true });
    // Root gives an embedded Postgres to another user, who must be able to pass through.
    chmodSync(dir, 0o711);
  }

  get url(): string {
    return this.#url;
  }

  get serverPid(): number {
    return this.#server?.pid ?? 0;
  }

  /** Starts the server on its own embedded Postgres. */
  async startServer(...flags: readonly string[]): Promise<void> {
    const dir = join(this.dir, 'server');
    mkdirSync(dir);
    chmodSync(dir, 0o711);
    this.#server = new StayingProcess({
      args: ['server', '--listen-port=0', `--state-dir=${join(dir, 'state')}`, ...flags],
      cwd: dir,
      env: { DROVER_SERVER_ACCESS_TOKEN: this.adminToken },
      logFile: join(dir, 'server.log'),
    });
    this.#url = (await this.#server.message<Listening>('listening')).url;
  }

  /** Runs a `drover` command as the operator. */
  get drover(): RunDrover {
    return createRunDrover(this.dir, { DROVER_SERVER: this.#url, DROVER_TOKEN: this.adminToken });
  }

  /** The services, as a program of the operator calls them. */
  get client(): FleetClients {
    return (this.#client ??= createClients(this.#url, this.adminToken));
  }

  /** The agents that are connected. */
  async agents(): Promise<readonly AgentStatus[]> {
    const { agents } = await this.client.fleet.listAgents({ pageSize: 1_000 });
    return agents.filter(({ online }) => online);
  }

  /** Machines first, in good order; then the server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.machines.values()].map((machine) => machine[Symbol.asyncDispose]()));
    const server = this.#server;
    if (server === undefined || !server.running) return;
    server.signal('SIGTERM');
    const impatient = setTimeout(() => server.signal('SIGTERM'), 5_000);
    await server.ended;
    clearTimeout(impatient);
  }
}

function createClients(baseUrl: string, token: string): FleetClients {
  const authorize: Interceptor = (next) => (request) => {
    request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
  const transport = createGrpcTransport({ baseUrl, interceptors: [authorize] });
  return { jobs: createClient(JobService, transport), fleet: createClient(FleetService, transport) };
}
