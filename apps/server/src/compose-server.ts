import 'reflect-metadata';
import { changeFrom, registerAccessService } from '@drover/access';
import { registerCompileAdminService, registerSchedulerService } from '@drover/compile-service/scheduler';
import { registerContentService } from '@drover/content-service';
import type { LocalContentStore } from '@drover/content-store';
import {
  registerAgentHealthService,
  registerAgentTaskService,
  registerControlService,
  registerUpgradeService,
  registerWorkspaceService,
} from '@drover/control-service';
import { registerEnrolmentAdminService, registerEnrolmentService } from '@drover/enrolment';
import {
  isDroverError,
  JobPlanner,
  payloadTypeOf,
  TaskSource,
  type Logger,
  type Meter,
  type ServerContribution,
} from '@drover/lease-kit';
import { agentActsForItself, createLeaseServer, type LeaseServer } from '@drover/lease-server';
import type { SecretSealer } from '@drover/lease-secrets';
import type { DroverStore } from '@drover/lease-store';
import { askedConform } from '@drover/lease-type-conform';
import { registerLeaseService } from '@drover/lease-transport';
import type { LiveFleetPolicy } from '@drover/fleet-policy';
import { createRpcHost, peerFrom, principalFrom, type RpcHost, type TlsMaterial } from '@drover/rpc-host';
import { agentTraits } from '@drover/task-sources';
import type { HandlerContext } from '@connectrpc/connect';
import { container as rootContainer, instanceCachingFactory, type DependencyContainer } from 'tsyringe';
import type { ServerAccess } from './server-access.ts';
import type { ServerCompile } from './server-compile.ts';
import type { ServerEnrolment } from './server-enrolment.ts';
import type { ServerConfig } from './server-config.ts';
import {
  AgentTaskKindsToken,
  CompileToken,
  ContentToken,
  EnrolmentToken,
  LeaseServerToken,
  LoggerToken,
  MeterToken,
  PolicyToken,
  ReservedPayloadsToken,
  SecretsToken,
  StoreToken,
} from './tokens.ts';

/** What a server is composed of. */
export interface ServerParts {
  readonly store: DroverStore;
  readonly content: LocalContentStore;
  readonly logger: Logger;
  /** Pools and what operators say about agents. */
  readonly policy: LiveFleetPolicy;
  /** How the server knows its agents. */
  readonly enrolment: ServerEnrolment;
  /** The compile farm. */
  readonly compile: ServerCompile;
  /** Absent: no job may have secrets. */
  readonly secrets?: SecretSealer | undefined;
  /** The source of canaries, asked before all others: whoever is to be tried gets nothing else. Absent: none. */
  readonly canaries?: TaskSource;
  /** What the lease types bring, in the order in which their sources are asked. */
  readonly leaseTypes: readonly ServerContribution[];
  /** Absent: nothing is measured. */
  readonly meter?: Meter | undefined;
}

/**
 * The composition root: registers the parts, and of each lease type its source as a singleton of `TaskSource` and its planner,
 * if it has one, as one of `JobPlanner`. Which lease types there are is said in server-parts.ts and in the configuration.
 */
export function composeServer(config: ServerConfig, parts: ServerParts): DependencyContainer {
  const container = rootContainer.createChildContainer();
  container.register(StoreToken, { useValue: parts.store });
  container.register(ContentToken, { useValue: parts.content });
  container.register(LoggerToken, { useValue: parts.logger });
  if (parts.secrets !== undefined) container.register(SecretsToken, { useValue: parts.secrets });
  if (parts.meter !== undefined) container.register(MeterToken, { useValue: parts.meter });
  container.register(PolicyToken, { useValue: parts.policy });
  container.register(EnrolmentToken, { useValue: parts.enrolment });
  container.register(CompileToken, { useValue: parts.compile });

  if (parts.canaries !== undefined) container.register<TaskSource>(TaskSource, { useValue: parts.canaries });
  for (const { source, planner } of parts.leaseTypes) {
    container.register<TaskSource>(TaskSource, { useValue: source });
    if (planner !== undefined) container.register<JobPlanner>(JobPlanner, { useValue: planner });
  }
  const kinds = parts.leaseTypes.flatMap(({ source, agentTask }) =>
    agentTask ? [[source.name, agentTask] as const] : [],
  );
  container.register(AgentTaskKindsToken, { useValue: new Map(kinds) });
  // What an operator wants of agents must not come in by the door of those who may only submit.
  const reserved = parts.leaseTypes.flatMap(({ agentTask, reserved: more = [] }) =>
    agentTask ? [agentTask.payloadType, ...more] : more,
  );
  container.register(ReservedPayloadsToken, { useValue: new Set(reserved) });

  container.register(LeaseServerToken, { useFactory: instanceCachingFactory((c) => leaseServerFrom(c, config)) });
  return container;
}

function leaseServerFrom(c: DependencyContainer, config: ServerConfig): LeaseServer {
  const planners = c.resolveAll<JobPlanner>(JobPlanner);
  const { heartbeat, timeout, takeover_grace } = config.sessions;
  return createLeaseServer(
    { timing: { heartbeatMs: heartbeat, sessionTimeoutMs: timeout, takeoverGraceMs: takeover_grace } },
    {
      store: c.resolve(StoreToken),
      sources: c.resolveAll<TaskSource>(TaskSource),
      authorizeAgent: agentActsForItself,
      admission: c.resolve(EnrolmentToken).admission,
      policy: c.resolve(PolicyToken),
      judge: (output) => planners.find(({ outputType }) => outputType === payloadTypeOf(output))?.succeeded(output),
      blobs: c.resolve(ContentToken),
      ...secretsOf(c),
      ...meterOf(c),
      logger: c.resolve(LoggerToken),
    },
  );
}

function secretsOf(c: DependencyContainer): { readonly secrets?: SecretSealer } {
  return c.isRegistered(SecretsToken) ? { secrets: c.resolve(SecretsToken) } : {};
}

function meterOf(c: DependencyContainer): { readonly meter?: Meter } {
  return c.isRegistered(MeterToken) ? { meter: c.resolve(MeterToken) } : {};
}

/** The one port of a server: leases for agents, control for people, blobs for both. */
export function createServerHost(
  config: ServerConfig,
  container: DependencyContainer,
  access: ServerAccess,
  tls?: TlsMaterial,
): RpcHost {
  const { host, port } = config.listen;
  const store = container.resolve(StoreToken);
  const server = container.resolve(LeaseServerToken);
  const content = container.resolve(ContentToken);
  const logger = container.resolve(LoggerToken);
  const principalOf = (context: HandlerContext) => principalFrom(context.values);
  const { authority } = container.resolve(EnrolmentToken);
  const { gate, interceptors, signIn } = access;
  return createRpcHost(
    { host, port, tls },
    {
      principalOf: (call) => gate.enter(call),
      checkMethods: (methods) => gate.checkMethods(methods),
      interceptors,
      isReady: async (signal) => {
        try {
          await store.check(signal);
        } catch (error) {
          logger.warn({ err: error }, 'not ready: the database cannot be used');
          const isAway = isDroverError(error, 'STORE_UNAVAILABLE');
          return { ready: false, reason: isAway ? 'The database is away.' : 'The database cannot be used.' };
        }
        return { ready: server.status().ready };
      },
      logger,
      ...meterOf(container),
      routes(router) {
        registerLeaseService(router, { endpoint: server.endpoint, principalOf });
        registerControlService(router, {
          store,
          planners: container.resolveAll<JobPlanner>(JobPlanner),
          reserved: container.resolve(ReservedPayloadsToken),
          policy: container.resolve(PolicyToken),
          placement: server.placement,
          blobs: content,
          ...secretsOf(container),
          ...meterOf(container),
          principalOf,
          logger,
        });
        registerAccessService(router, { store, ...(signIn === undefined ? {} : { signIn }) });
        const { failures } = access;
        registerEnrolmentService(router, {
          authority,
          principalOf,
          peerOf: ({ values }) => peerFrom(values),
          failures,
        });
        const { scheduler, verifier } = container.resolve(CompileToken);
        registerSchedulerService(router, { scheduler, verifier, failures });
        registerCompileAdminService(router, { scheduler });
        registerEnrolmentAdminService(router, {
          store: store.enrolments,
          signals: store.signals,
          contextOf: (context) => {
            const change = changeFrom(context.values);
            const base = { principal: principalOf(context), signal: context.signal };
            return change === undefined ? base : { ...base, change };
          },
        });
        registerAgentTaskService(router, {
          store,
          kinds: container.resolve(AgentTaskKindsToken),
          outputs: { blobs: content, logger },
          poolsOf: ({ agentId, description, poolsAllowed }) =>
            agentTraits(agentId, description, container.resolve(PolicyToken).pools, poolsAllowed).pools,
        });
        registerWorkspaceService(router, {
          store,
          wishOf: askedConform,
          poolsOf: ({ agentId, description, poolsAllowed }) =>
            agentTraits(agentId, description, container.resolve(PolicyToken).pools, poolsAllowed).pools,
        });
        registerAgentHealthService(router, { store, policy: container.resolve(PolicyToken), principalOf });
        registerUpgradeService(router, { store, blobs: content, principalOf });
        registerContentService(router, { store: content, principalOf, logger });
      },
    },
  );
}
