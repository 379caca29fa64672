import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { changeFrom } from '@drover/access';
import {
  AgentHealthSchema,
  AgentHealthService,
  AgentHealthState,
  ClearAgentHealthResponseSchema,
  GetAgentHealthResponseSchema,
  ListAgentHealthResponseSchema,
  type AgentHealth,
} from '@drover/control-api';
import type { Principal } from '@drover/lease-kit';
import type {
  AgentHealthRecord,
  AgentHealthStore,
  SessionStore,
  StoreContext,
  StoreSignals,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { healthStates } from './agent-status.ts';
import { idFromPageToken, pageSizeOf, pageTokenOf } from './input-errors.ts';

/** What the service of agents' health works with. */
export interface AgentHealthServiceDeps {
  readonly store: {
    readonly agentHealth: Pick<AgentHealthStore, 'records' | 'recordsOf' | 'clear'>;
    readonly sessions: Pick<SessionStore, 'agent'>;
    readonly signals: StoreSignals;
  };
  /** Follows at once what is changed here. */
  readonly policy: { refresh(): Promise<void> };
  /** On whose behalf a call is made. */
  readonly principalOf: (context: HandlerContext) => Principal;
}

const pageMax = 1_000;
const pageDefault = 200;

/** Puts drover.control.v1.AgentHealthService on a router. */
export function registerAgentHealthService(router: ConnectRouter, deps: AgentHealthServiceDeps): ConnectRouter {
  const { agentHealth, sessions, signals } = deps.store;
  const unary = async <Answer>(context: HandlerContext, run: (call: StoreContext) => Promise<Answer>) => {
    try {
      const change = changeFrom(context.values);
      const call = { principal: deps.principalOf(context), signal: context.signal };
      return await run(change === undefined ? call : { ...call, change });
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(AgentHealthService, {
    listAgentHealth: (request, context) =>
      unary(context, async (call) => {
        const limit = pageSizeOf(request.pageSize, pageDefault, pageMax);
        const after = idFromPageToken(request.pageToken);
        const records = await agentHealth.records(after === undefined ? { limit } : { limit, after }, call);
        const nextPageToken = records.length < limit ? '' : pageTokenOf(records.at(-1)!.agentId);
        return create(ListAgentHealthResponseSchema, { agents: records.map(healthToWire), nextPageToken });
      }),
    getAgentHealth: ({ agentId }, context) =>
      unary(context, async (call) => {
        await sessions.agent(agentId, call);
        const [record] = await agentHealth.recordsOf([agentId], call);
        const healthy = create(AgentHealthSchema, { agentId, state: AgentHealthState.HEALTHY });
        return create(GetAgentHealthResponseSchema, { health: record === undefined ? healthy : healthToWire(record) });
      }),
    clearAgentHealth: ({ agentIds, comment }, context) =>
      unary(context, async (call) => {
        await agentHealth.clear(agentIds, comment, call);
        signals.announce({ kind: 'settings' });
        await deps.policy.refresh();
        return create(ClearAgentHealthResponseSchema);
      }),
  });
}

function healthToWire(record: AgentHealthRecord): AgentHealth {
  const { agentId, state, isWithheld, sinceMs, reason, evidence, rounds, canaryDueMs, canaryWantedMs, clearedBy } =
    record;
  return create(AgentHealthSchema, {
    agentId,
    state: healthStates[state],
    withheld: isWithheld,
    since: timestampFromMs(sinceMs),
    reason,
    evidence: evidence.map(({ atMs, succeededOn = '', ...rest }) => ({
      ...rest,
      at: timestampFromMs(atMs),
      succeededOn,
    })),
    rounds,
    ...(canaryDueMs === undefined ? {} : { canaryDue: timestampFromMs(canaryDueMs) }),
    canaryUnderWay: canaryWantedMs !== undefined,
    clearedBy: clearedBy ?? '',
  });
}
