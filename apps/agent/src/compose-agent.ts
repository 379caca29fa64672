import 'reflect-metadata';
import { createClient, type Interceptor, type Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AgentIdentity } from '@drover/agent-identity';
import { EnrolmentService } from '@drover/enrolment-protocol';
import { GuardedSessionManager } from '@drover/grpc-streams';
import type { ContentStore } from '@drover/content-store';
import { createRemoteContentStore } from '@drover/content-store-remote';
import { createLeaseAgent, type LeaseAgent, type LeaseAgentEvent } from '@drover/lease-agent';
import { DroverError, LeaseHandler, systemClock, type AgentContribution, type Logger } from '@drover/lease-kit';
import {
  createLeaseClient,
  createRotatingLeaseClient,
  type CallHeaders,
  type LeaseClientTls,
} from '@drover/lease-transport';
import { createLeaseTypes } from '@drover/lease-type-loader';
import { createMachineFacts, type MachineFacts } from '@drover/machine-facts';
import { createProcessRunner, type ProcessRunner } from '@drover/process-runner';
import { createGitWorkspaceProvider, createGitWorkspaceSync } from '@drover/workspaces-git';
import { mkdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { container as rootContainer, type DependencyContainer, type InjectionToken } from 'tsyringe';
import { agentBlobsFrom } from './agent-blobs.ts';
import { serverUrlsOf, type AgentConfig } from './agent-config.ts';
import { openSupervision, type AgentSupervision } from './agent-supervision.ts';
import { agentParts, type AgentCollaborators } from './agent-parts.ts';
import { agentTls, checkServerUrls, wantsEnrolment } from './server-connection.ts';
import { machineOptions } from './machine-options.ts';
import { version } from './version.ts';
import { clientOfNobody } from './without-servers.ts';

/** What the composition root hands out besides handlers. */
export const ContentToken: InjectionToken<ContentStore> = Symbol.for('@drover/agent/ContentStore');
export const RunnerToken: InjectionToken<ProcessRunner> = Symbol.for('@drover/agent/ProcessRunner');
export const LoggerToken: InjectionToken<Logger> = Symbol.for('@drover/agent/Logger');

/** What an agent is composed of. */
export interface AgentParts {
  readonly content: ContentStore;
  readonly runner: ProcessRunner;
  readonly logger: Logger;
  /** What the lease types bring. */
  readonly leaseTypes: readonly AgentContribution[];
}

/**
 * The composition root: registers the parts, and the handler of each lease type as a singleton of `LeaseHandler`. Which lease
 * types there are is said in agent-parts.ts and in the configuration.
 */
export function composeAgent(parts: AgentParts): DependencyContainer {
  const container = rootContainer.createChildContainer();
  container.register(ContentToken, { useValue: parts.content });
  container.register(RunnerToken, { useValue: parts.runner });
  container.register(LoggerToken, { useValue: parts.logger });

  for (const { handler } of parts.leaseTypes) container.register<LeaseHandler>(LeaseHandler, { useValue: handler });
  return container;
}

/** An agent with its connections. */
export interface ComposedAgent extends AsyncDisposable {
  readonly agent: LeaseAgent;
  /** What its machine is; refreshed, the server is told of what changed. */
  readonly facts: MachineFacts;
  /** What it has of its supervisor; absent: it has none. */
  readonly supervision: AgentSupervision | undefined;
  /** Who it is to its servers; absent: it acts by its name, with the bootstrap token or in development. */
  readonly identity: AgentIdentity | undefined;
}

/**
 * Makes the agent that a configuration describes, with its lease types; it does nothing before `agent.start()`. `extend`
 * registers what is added to the composition root: further handlers.
 */
export async function createConfiguredAgent(
  config: AgentConfig,
  logger: Logger,
  onEvent: (event: LeaseAgentEvent) => void,
  extend?: (container: DependencyContainer) => void,
): Promise<ComposedAgent> {
  const supervision = await openSupervision(config, logger);
  const loaded = [...(await agentParts(config, process.cwd())), ...(supervision?.parts ?? [])];
  await using parts = new AsyncDisposableStack();
  const { token, enrolment_token: enrolmentToken } = config.server;
  const urls = serverUrlsOf(config);
  checkServerUrls(config);
  const tls = await agentTls(config);
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  // Asked at each call, when the agent below is there and knows its id.
  const headers = (url: string) => identity?.headers(url) ?? { ...authorization, 'drover-agent-id': agent.agentId };
  const client =
    urls.length === 0
      ? clientOfNobody
      : createRotatingLeaseClient(
          urls.map((baseUrl) => parts.use(createLeaseClient({ baseUrl, tls, headers }, { logger }))),
          { logger },
        );
  const transports = urls.map(
    (baseUrl) => parts.use(blobTransport(baseUrl, (url) => identity?.headers(url) ?? authorization, tls)).transport,
  );
  // Blobs come from and go to the server of the session.
  const transport: Transport = {
    unary: (...call) => transports[client.current]!.unary(...call),
    stream: (...call) => transports[client.current]!.stream(...call),
  };
  const content = createRemoteContentStore({}, { transport });
  const runner = parts.use(createProcessRunner({ stateDir: join(config.state.dir, 'processes') }, { logger }));
  const git = createGitWorkspaceProvider({ cacheDir: join(config.state.dir, 'git') }, { logger });
  const workspaceSync = createGitWorkspaceSync({ transports: config.workspaces.transports }, { logger });
  const leaseTypes = parts.use(
    await createLeaseTypes(loaded, {
      tables: { ...config.lease_type, ...supervision?.tables },
      collaborators: (_, leaseType): AgentCollaborators => ({
        content,
        runner,
        workspaces: [git],
        workspaceSyncs: [workspaceSync],
        workspacesRoot: resolve(config.workspaces.root ?? join(config.state.dir, 'workspaces')),
        get stateDir() {
          const dir = resolve(config.state.dir, 'lease-types', leaseType);
          mkdirSync(dir, { recursive: true });
          return dir;
        },
        ...(supervision === undefined ? {} : { supervisor: supervision.home }),
        clock: systemClock,
        logger: logger.child({ leaseType }),
      }),
    }),
  );
  const container = composeAgent({ content, runner, logger, leaseTypes: leaseTypes.contributions });
  extend?.(container);
  const facts = parts.use(machineFacts(config, logger));
  // Bounded: a disk that hangs holds no agent up.
  await facts.refresh();
  const machine = machineOptions(config);
  const agent: LeaseAgent = parts.use(
    createLeaseAgent(
      {
        stateDir: join(config.state.dir, 'leases'),
        version: supervision?.home.running.version ?? version,
        pools: config.agent.pools,
        ...machine,
        properties: { ...machine.properties, ...supervision?.properties },
        leasesMax: config.agent.leases_max,
        ephemeral: config.agent.ephemeral,
        ...(config.agent.id === undefined ? {} : { agentId: config.agent.id }),
        ...(config.agent.name === undefined ? {} : { name: config.agent.name }),
      },
      {
        client,
        handlers: container.resolveAll<LeaseHandler>(LeaseHandler),
        blobs: agentBlobsFrom(content),
        machine: facts,
        logger,
        onEvent(event) {
          if (event.type === 'session-opened') supervision?.tellHealthy();
          onEvent(event);
        },
      },
    ),
  );
  const identity: AgentIdentity | undefined = wantsEnrolment(config)
    ? parts.use(
        await AgentIdentity.open(
          {
            dir: join(config.state.dir, 'identity'),
            agentId: agent.agentId,
            enrolmentToken,
            name: config.agent.name ?? hostname(),
            pools: config.agent.pools,
          },
          {
            servers: urls.map((baseUrl, index) => ({
              baseUrl,
              client: createClient(EnrolmentService, transports[index]!),
            })),
            logger,
          },
        ),
      )
    : undefined;
  const moved = parts.move();
  return { agent, facts, supervision, identity, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

/** The facts of this machine, as a configuration wants them. */
export function machineFacts(config: AgentConfig, logger: Logger): MachineFacts {
  const { file, interval } = config.facts;
  mkdirSync(config.state.dir, { recursive: true });
  return createMachineFacts(
    {
      stateDir: config.state.dir,
      refreshMs: interval,
      ...(file === undefined ? {} : { factsFile: file }),
      ...bootIdOption(config),
    },
    { logger },
  );
}

/** The boot id that a file tells. A file that is missing or empty is an error: a restart could not be proven. */
function bootIdOption({ agent }: AgentConfig): { readonly bootId?: string } {
  const { boot_id_file: path } = agent;
  if (path === undefined) return {};
  const bootId = readFileSync(path, 'utf8').trim();
  if (bootId !== '' && bootId.length <= 128) return { bootId };
  throw new DroverError({
    code: 'BOOT_ID_INVALID',
    advice: 'fix-input',
    message: `agent.boot_id_file: ${path} has ${bootId.length} characters; allowed: 1 to 128, new after every start.`,
  });
}

function blobTransport(
  baseUrl: string,
  headers: (url: string) => CallHeaders | Promise<CallHeaders>,
  tls: LeaseClientTls,
): { readonly transport: Transport } & Disposable {
  const sessionManager = new GuardedSessionManager(baseUrl, { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 }, tls);
  const authorize: Interceptor = (next) => async (request) => {
    // What asks for a credential cannot show one.
    if (request.service.typeName === EnrolmentService.typeName) return next(request);
    for (const [name, value] of Object.entries(await headers(request.url))) request.header.set(name, value);
    return next(request);
  };
  return {
    transport: createGrpcTransport({ baseUrl, sessionManager, interceptors: [authorize] }),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}
