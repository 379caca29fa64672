import { createClient, type Client, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { GuardedSessionManager } from '@drover/grpc-streams';
import { createRemoteContentStore } from '@drover/content-store-remote';
import type { ContentStore } from '@drover/content-store';
import {
  AccessService,
  AgentHealthService,
  AgentService,
  AgentTaskService,
  CompileAdminService,
  EnrolmentAdminService,
  FleetService,
  JobService,
  PoolService,
  UpgradeService,
  WorkspaceService,
} from '@drover/control-api';

/** A server as the command line calls it. */
export interface FleetClient extends Disposable {
  readonly url: string;
  readonly jobs: Client<typeof JobService>;
  readonly fleet: Client<typeof FleetService>;
  readonly enrolment: Client<typeof EnrolmentAdminService>;
  readonly agentTasks: Client<typeof AgentTaskService>;
  readonly upgrades: Client<typeof UpgradeService>;
  readonly workspaces: Client<typeof WorkspaceService>;
  readonly compiles: Client<typeof CompileAdminService>;
  readonly access: Client<typeof AccessService>;
  readonly agents: Client<typeof AgentService>;
  readonly pools: Client<typeof PoolService>;
  readonly health: Client<typeof AgentHealthService>;
  readonly content: ContentStore;
}

/** How long a call without a stream may take. */
const callTimeoutMs = 30_000;

/** How a server is reached. */
export interface FleetClientOptions {
  /** `http://host:port` or `https://host:port`. */
  readonly url: string;
  /** What the server asks every caller for; absent means nothing. */
  readonly token?: string;
  /** PEM text of the authority that signed the server's certificate; absent means those that Node trusts. */
  readonly ca?: string;
  /** PEM text of the caller's own certificate and key, where the server asks for one. */
  readonly certificate?: { readonly cert: string; readonly key: string };
}

/** Opens a client. It connects with the first call; disposing closes the connection. */
export function createFleetClient({ url, token, ca, certificate }: FleetClientOptions): FleetClient {
  const tls = { ...(ca === undefined ? {} : { ca }), ...certificate };
  const sessions = new GuardedSessionManager(url, { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 }, tls);
  const transport: Transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: sessions,
    interceptors: [
      (next) => (request) => {
        if (token !== undefined && token !== '') request.header.set('authorization', `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  return {
    url,
    jobs: createClient(JobService, transport),
    fleet: createClient(FleetService, transport),
    enrolment: createClient(EnrolmentAdminService, transport),
    agentTasks: createClient(AgentTaskService, transport),
    upgrades: createClient(UpgradeService, transport),
    workspaces: createClient(WorkspaceService, transport),
    compiles: createClient(CompileAdminService, transport),
    access: createClient(AccessService, transport),
    agents: createClient(AgentService, transport),
    pools: createClient(PoolService, transport),
    health: createClient(AgentHealthService, transport),
    content: createRemoteContentStore({}, { transport }),
    [Symbol.dispose]: () => sessions.abort(),
  };
}

/** Options of a call without a stream. */
export function callOptions(signal: AbortSignal): { readonly signal: AbortSignal; readonly timeoutMs: number } {
  return { signal, timeoutMs: callTimeoutMs };
}
