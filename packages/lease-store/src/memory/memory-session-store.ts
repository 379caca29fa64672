import { toBinary } from '@bufbuild/protobuf';
import { AgentDescriptionSchema, type AgentDescription } from '@drover/lease-protocol';
import {
  checkCount,
  checkNewSession,
  checkSession,
  checkText,
  checkWhole,
  storedMessage,
} from '../check-store-input.ts';
import type { AgentRecord, NewSession, OpenedSession, SessionStore } from '../session-store.ts';
import { agentOnline, agentQuarantined, agentsNotFound } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreSignals } from '../store-signals.ts';
import type { MemoryAgent, MemoryData } from './memory-data.ts';
import { boundRecord } from './memory-records.ts';

/** The sessions of a memory store. */
export function memorySessionStore(data: MemoryData, signals: StoreSignals): SessionStore {
  const { clock } = data;
  return {
    openSession: async (wanted, context) => {
      data.enter(context);
      checkNewSession(wanted);
      checkDescription(wanted.description);
      return openSession(data, signals, wanted);
    },
    endSession: async (ref, reason, context, silentMs = 0) => {
      data.enter(context);
      checkSession('session', ref);
      const agent = data.agents.get(ref.agentId);
      if (!agent || !data.isCurrent(ref)) return [];
      checkWhole('silentMs', silentMs, 0, Number.MAX_SAFE_INTEGER);
      agent.session = undefined;
      agent.leftAtMs = clock.wallMs();
      agent.awaySinceMs = clock.wallMs() - silentMs;
      const over = data.boundTo(ref.agentId).filter((lease) => data.isAwayTooLong(lease));
      return data.lose(over, { code: 'SESSION_ENDED', message: storedMessage(reason) });
    },
    recordCondition: async (ref, { condition, reason }, context) => {
      data.enter(context);
      checkSession('session', ref);
      if (reason) checkText('reason.code', reason.code, storeLimits.idLengthMax);
      const agent = data.agents.get(ref.agentId);
      if (!agent || !data.isCurrent(ref)) return;
      agent.condition = condition;
      agent.conditionReason = reason && { code: reason.code, message: storedMessage(reason.message) };
    },
    recordDescription: async (ref, description, context) => {
      data.enter(context);
      checkSession('session', ref);
      checkDescription(description);
      const agent = data.agents.get(ref.agentId);
      if (agent && data.isCurrent(ref)) agent.description = description;
    },
    beat: async (serverId, context) => {
      data.enter(context);
      checkText('serverId', serverId, storeLimits.idLengthMax);
      data.servers.set(serverId, { beatAtMs: clock.wallMs(), leftAtMs: undefined });
    },
    leave: async (serverId, context) => {
      data.enter(context);
      checkText('serverId', serverId, storeLimits.idLengthMax);
      const server = data.servers.get(serverId);
      if (server) server.leftAtMs ??= clock.wallMs();
    },
    sweep: async ({ serverTtlMs, graceMs }, context) => {
      data.enter(context);
      checkWhole('serverTtlMs', serverTtlMs, 0, Number.MAX_SAFE_INTEGER);
      checkWhole('graceMs', graceMs, 0, Number.MAX_SAFE_INTEGER);
      for (const agent of data.agents.values()) {
        if (!agent.session) continue;
        const server = data.servers.get(agent.session.serverId);
        const silentFromMs = (server?.beatAtMs ?? agent.session.openedAtMs) + serverTtlMs;
        const expiresAtMs = Math.min(silentFromMs, server?.leftAtMs ?? Infinity) + graceMs;
        if (expiresAtMs >= clock.wallMs()) continue;
        const heardAtMs = server?.beatAtMs ?? agent.session.openedAtMs;
        agent.awaySinceMs = Math.min(heardAtMs, server?.leftAtMs ?? Infinity);
        agent.session = undefined;
        agent.leftAtMs = clock.wallMs();
      }
      const strays = [...data.live].filter(
        (lease) => lease.bound && !data.isCurrent(lease.bound) && data.isAwayTooLong(lease),
      );
      const lost = data.lose(strays.slice(0, storeLimits.sweepMax), {
        code: 'SESSION_EXPIRED',
        message: 'The session of the agent ended before this attempt did.',
      });
      for (const { agentId, session, description } of data.agents.values()) {
        if (description.ephemeral && !session && data.boundTo(agentId).length === 0) forget(data, agentId);
      }
      return lost;
    },
    removeAgent: async (agentId, context) => {
      data.enter(context);
      const agent = data.agents.get(agentId);
      if (!agent) throw agentsNotFound([agentId]);
      if (agent.session) throw agentOnline(agentId);
      forget(data, agentId);
    },
    agent: async (agentId, context) => {
      data.enter(context);
      const agent = data.agents.get(agentId);
      if (!agent) throw agentsNotFound([agentId]);
      return agentRecord(data, agent);
    },
    agents: async ({ after = '', limit }, context) => {
      data.enter(context);
      checkWhole('limit', limit, 1, storeLimits.pageMax);
      return [...data.agents.values()]
        .filter(({ agentId }) => agentId > after)
        .sort((a, b) => (a.agentId < b.agentId ? -1 : 1))
        .slice(0, limit)
        .map((agent) => agentRecord(data, agent));
    },
  };
}

function forget(data: MemoryData, agentId: string): void {
  data.epochFloor = Math.max(data.epochFloor, data.agents.get(agentId)?.epoch ?? 0);
  data.agents.delete(agentId);
  data.settings.delete(agentId);
  data.health.delete(agentId);
  for (const listener of data.onAgentForgotten) listener(agentId);
}

function checkDescription(description: AgentDescription): void {
  const bytes = toBinary(AgentDescriptionSchema, description).length;
  checkCount('description: bytes', bytes, storeLimits.descriptionBytesMax);
}

function openSession(data: MemoryData, signals: StoreSignals, wanted: NewSession): OpenedSession {
  const { agentId, sessionId, serverId, instanceNonce, description } = wanted;
  const nowMs = data.clock.wallMs();
  const agent: MemoryAgent = data.agents.get(agentId) ?? {
    agentId,
    epoch: data.epochFloor,
    description,
    session: undefined,
    instanceNonce,
    condition: 'ready',
    conditionReason: undefined,
    quarantinedUntilMs: 0,
    takeoversAtMs: [],
    leftAtMs: undefined,
    awaySinceMs: 0,
    drain: undefined,
  };
  data.agents.set(agentId, agent);
  if (agent.quarantinedUntilMs > nowMs) throw agentQuarantined(agentId, agent.quarantinedUntilMs - nowMs);
  const takeovers = agent.takeoversAtMs.filter((atMs) => atMs > nowMs - storeLimits.takeoverWindowMs);
  const before = agent.session;
  const isTakeover = before !== undefined && agent.instanceNonce !== instanceNonce;
  agent.epoch += 1;
  if (isTakeover && takeovers.length + 1 >= storeLimits.takeoversMax) {
    // The other process loses its session as well: nobody can say which of the two is the machine that is meant.
    agent.session = undefined;
    agent.leftAtMs = nowMs;
    agent.takeoversAtMs = [];
    agent.quarantinedUntilMs = nowMs + storeLimits.quarantineMs;
    signals.announce({ kind: 'fenced', agentId, epoch: agent.epoch });
    throw agentQuarantined(agentId, storeLimits.quarantineMs);
  }
  if (!data.servers.has(serverId)) data.servers.set(serverId, { beatAtMs: nowMs, leftAtMs: undefined });
  agent.takeoversAtMs = isTakeover ? [...takeovers, nowMs] : takeovers;
  agent.session = { sessionId, serverId, openedAtMs: nowMs };
  agent.leftAtMs = undefined;
  agent.instanceNonce = instanceNonce;
  agent.description = description;
  agent.condition = 'ready';
  agent.conditionReason = undefined;

  const { epoch } = agent;
  const earlier = data.boundTo(agentId);
  const proven = new Map(wanted.proven.map((key) => [`${key.leaseId} ${key.attempt}`, key]));
  const rebound = earlier.filter((lease) => proven.has(`${lease.draft.leaseId} ${lease.attempt}`));
  for (const lease of rebound) {
    if (lease.bound) lease.bound = { ...lease.bound, epoch };
    // Another process than the one that said so: the agent has come back.
    if (!proven.get(`${lease.draft.leaseId} ${lease.attempt}`)?.goingDown) lease.goingDown = false;
  }
  const lost = data.lose(
    earlier.filter((lease) => !rebound.includes(lease)),
    {
      code: 'SESSION_REPLACED',
      message: 'The agent opened a new session without proof that it holds this attempt.',
    },
  );
  return {
    epoch,
    rebound: rebound.map((lease) => boundRecord(data, lease)),
    lost,
    ...drainOf(data, agent),
    ...(before ? { fenced: { sessionId: before.sessionId, serverId: before.serverId, epoch: epoch - 1 } } : {}),
  };
}

function drainOf(data: MemoryData, { drain }: MemoryAgent): Pick<AgentRecord, 'drain'> {
  const remainingMs = (drain?.untilMs ?? 0) - data.clock.wallMs();
  return drain && remainingMs > 0 ? { drain: { source: drain.source, reason: drain.reason, remainingMs } } : {};
}

function agentRecord(data: MemoryData, agent: MemoryAgent): AgentRecord {
  const leases = data.boundTo(agent.agentId);
  const resourcesUsed: Record<string, number> = {};
  for (const { draft } of leases) {
    for (const [name, amount] of Object.entries(draft.requirements.resources ?? {})) {
      resourcesUsed[name] = (resourcesUsed[name] ?? 0) + amount;
    }
  }
  const { agentId, description, epoch, session, condition, conditionReason, quarantinedUntilMs, leftAtMs } = agent;
  const poolsAllowed = data.poolsAllowedOf(agentId);
  return {
    agentId,
    description,
    epoch,
    ...(session ? { session } : {}),
    ...(poolsAllowed.length === 0 ? {} : { poolsAllowed }),
    condition,
    ...(conditionReason ? { conditionReason } : {}),
    ...(leftAtMs === undefined ? {} : { leftAtMs }),
    ...drainOf(data, agent),
    ...(quarantinedUntilMs > data.clock.wallMs() ? { quarantinedUntilMs } : {}),
    leases: leases.length,
    resourcesUsed,
  };
}
