import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs, timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { changeFrom } from '@drover/access';
import {
  AddDowntimeResponseSchema,
  AgentService,
  DowntimeSchema,
  GetAgentResponseSchema,
  ListDowntimesResponseSchema,
  RemoveAgentResponseSchema,
  RemoveDowntimeResponseSchema,
  SetAgentsBusyResponseSchema,
  SetAgentsEnabledResponseSchema,
  type Downtime,
} from '@drover/control-api';
import { nextDowntimes, timeZoneProblem, type FleetPolicy } from '@drover/fleet-policy';
import type { Clock } from '@drover/lease-kit';
import {
  downtimeNotFound,
  type AgentSettings,
  type AgentSettingsStore,
  type DowntimeDraft,
  type DowntimeRecord,
  type DowntimeSchedule,
  type IsoWeekday,
  type SessionStore,
  type StoreContext,
  type StoreSignals,
} from '@drover/lease-store';
import { agentStatusOf } from './agent-status.ts';
import type { UnaryCall } from './control-service-options.ts';
import { idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';
import { uuidV7 } from './uuid-v7.ts';

/** What the service of agents works with. */
export interface AgentServiceDeps {
  readonly sessions: Pick<SessionStore, 'agent' | 'removeAgent'>;
  readonly agentSettings: AgentSettingsStore;
  readonly signals: StoreSignals;
  readonly policy: FleetPolicy & { refresh?(): Promise<void> };
  readonly clock: Clock;
}

const nextShown = 3;
const page = 1_000;

/** Puts drover.control.v1.AgentService on a router. */
export function registerAgentService(router: ConnectRouter, deps: AgentServiceDeps, unary: UnaryCall): void {
  const { sessions, agentSettings, signals, policy } = deps;
  /** Tells every server, and answers when this one has followed. */
  const changed = async (): Promise<void> => {
    signals.announce({ kind: 'settings' });
    await policy.refresh?.();
  };
  const changeAgents = async (
    context: HandlerContext,
    agentIds: readonly string[],
    write: () => Promise<void>,
    call: StoreContext,
    action?: string,
  ): Promise<void> => {
    const before = settingsById(await agentSettings.settingsOf(agentIds, call));
    await write();
    await changed();
    const after = settingsById(await agentSettings.settingsOf(agentIds, call));
    for (const agentId of agentIds) {
      const note = { before: settingsNote(before.get(agentId)), after: settingsNote(after.get(agentId)) };
      const subject = { subject: `agent:${agentId}`, ...(action === undefined ? {} : { action }) };
      changeFrom(context.values)?.note({ ...subject, ...note });
    }
  };
  router.service(AgentService, {
    getAgent: (request, context) =>
      unary(context, async (call) => {
        const record = await sessions.agent(request.agentId, call);
        const [settings] = await agentSettings.settingsOf([record.agentId], call);
        return create(GetAgentResponseSchema, { agent: agentStatusOf(record, settings, policy) });
      }),
    setAgentsEnabled: ({ agentIds, enabled, comment }, context) =>
      unary(context, async (call) => {
        const write = () => agentSettings.setEnabled(agentIds, { enabled, comment }, call);
        await changeAgents(context, agentIds, write, call, enabled ? 'agent.enable' : 'agent.disable');
        return create(SetAgentsEnabledResponseSchema);
      }),
    setAgentsBusy: ({ agentIds, busyFor, comment }, context) =>
      unary(context, async (call) => {
        const busyForMs = busyFor === undefined ? 0 : Math.round(durationMs(busyFor));
        if (busyFor !== undefined && busyForMs < 1_000) {
          throw inputInvalid('BUSY_INVALID', 'busy_for', `${busyForMs} ms`, 'a second to 31 days');
        }
        const write = () => agentSettings.setBusy(agentIds, { busyForMs, comment }, call);
        await changeAgents(context, agentIds, write, call);
        return create(SetAgentsBusyResponseSchema);
      }),
    removeAgent: ({ agentId }, context) =>
      unary(context, async (call) => {
        const record = await sessions.agent(agentId, call);
        await sessions.removeAgent(agentId, call);
        await changed();
        const { name, version } = record.description;
        changeFrom(context.values)?.note({ subject: `agent:${agentId}`, before: { name, version } });
        return create(RemoveAgentResponseSchema);
      }),
    addDowntime: (request, context) =>
      unary(context, async (call) => {
        const downtime = await agentSettings.addDowntime(draftOf(request.downtime, deps.clock), call);
        await changed();
        changeFrom(context.values)?.note({ subject: `downtime:${downtime.downtimeId}`, after: downtimeNote(downtime) });
        return create(AddDowntimeResponseSchema, { downtime: downtimeToWire(downtime, deps.clock) });
      }),
    listDowntimes: (request, context) =>
      unary(context, async (call) => {
        const limit = pageSizeOf(request.pageSize, 200, page);
        const after = idFromPageToken(request.pageToken);
        const records = await agentSettings.downtimes(after === undefined ? { limit } : { after, limit }, call);
        const downtimes = records.map((one) => downtimeToWire(one, deps.clock));
        const nextPageToken = records.length < limit ? '' : pageTokenOf(records.at(-1)!.downtimeId);
        return create(ListDowntimesResponseSchema, { downtimes, nextPageToken });
      }),
    removeDowntime: (request, context) =>
      unary(context, async (call) => {
        const downtimeId = await wholeId(agentSettings, request.downtimeId.toLowerCase(), call);
        const downtime = await agentSettings.removeDowntime(downtimeId, call);
        await changed();
        changeFrom(context.values)?.note({ subject: `downtime:${downtimeId}`, before: downtimeNote(downtime) });
        return create(RemoveDowntimeResponseSchema, { downtime: downtimeToWire(downtime, deps.clock) });
      }),
  });
}

/** The id that begins like this. */
async function wholeId(store: AgentSettingsStore, prefix: string, call: StoreContext): Promise<string> {
  if (prefix.length < 4)
    throw inputInvalid('DOWNTIME_INVALID', 'downtime_id', 'it is too short', 'at least 4 characters');
  const all = await store.downtimes({ limit: page }, call);
  const found = all.filter(({ downtimeId }) => downtimeId.startsWith(prefix));
  if (found.length > 1) {
    throw inputInvalid('DOWNTIME_ID_AMBIGUOUS', 'downtime_id', `${found.length} begin like it`, 'more of the id');
  }
  if (found[0] === undefined) throw downtimeNotFound(prefix);
  return found[0].downtimeId;
}

function draftOf(wire: Downtime | undefined, clock: Clock): DowntimeDraft {
  if (wire === undefined) throw inputInvalid('DOWNTIME_INVALID', 'downtime', 'it is missing', 'a downtime');
  const { agentIds: agents, pools, comment, duration } = wire;
  if (duration === undefined) throw inputInvalid('DOWNTIME_INVALID', 'duration', 'it is missing', 'at least a minute');
  const durationMs_ = Math.round(durationMs(duration));
  const schedule = scheduleOf(wire);
  if (schedule.kind === 'once' && schedule.startMs + durationMs_ <= clock.wallMs()) {
    throw inputInvalid('DOWNTIME_INVALID', 'start_at', 'it is over already', 'one that ends in the future');
  }
  return { downtimeId: uuidV7(clock.wallMs()), schedule, durationMs: durationMs_, agents, pools, comment };
}

function scheduleOf({ startAt, timeOfDay: time, timeZone, days }: Downtime): DowntimeSchedule {
  if (startAt !== undefined) {
    if (time === '' && days.length === 0) return { kind: 'once', startMs: timestampMs(startAt) };
    throw inputInvalid('DOWNTIME_INVALID', 'start_at', 'it stands beside time_of_day or days', 'one or the other');
  }
  if (time === '') throw inputInvalid('DOWNTIME_INVALID', 'time_of_day', 'it is missing', 'start_at, or HH:MM');
  const problem = timeZoneProblem(timeZone);
  if (problem !== undefined)
    throw inputInvalid('DOWNTIME_INVALID', 'time_zone', problem, 'an IANA name such as Europe/Berlin, or UTC');
  if (days.length === 0) return { kind: 'daily', time, timeZone };
  return { kind: 'weekly', days: [...new Set(days)].sort() as IsoWeekday[], time, timeZone };
}

function downtimeToWire(record: DowntimeRecord, clock: Clock): Downtime {
  const { downtimeId, schedule, durationMs: ms, agents, pools, comment, by, atMs } = record;
  const next = nextDowntimes(record, clock.wallMs(), nextShown);
  return create(DowntimeSchema, {
    downtimeId,
    agentIds: [...agents],
    pools: [...pools],
    ...(schedule.kind === 'once'
      ? { startAt: timestampFromMs(schedule.startMs) }
      : { timeOfDay: schedule.time, timeZone: schedule.timeZone }),
    days: schedule.kind === 'weekly' ? [...schedule.days] : [],
    duration: durationFromMs(ms),
    comment,
    by,
    at: timestampFromMs(atMs),
    next: next.map(({ startMs, endMs }) => ({ startAt: timestampFromMs(startMs), endAt: timestampFromMs(endMs) })),
  });
}

function settingsById(settings: readonly AgentSettings[]): ReadonlyMap<string, AgentSettings> {
  return new Map(settings.map((one) => [one.agentId, one]));
}

function settingsNote(settings: AgentSettings | undefined): Record<string, unknown> {
  const { disabled, busy } = settings ?? {};
  return {
    enabled: disabled === undefined,
    ...(disabled === undefined ? {} : { comment: disabled.comment }),
    ...(busy === undefined ? {} : { busyUntil: new Date(busy.untilMs).toISOString(), busyComment: busy.comment }),
  };
}

function downtimeNote({ schedule, durationMs: ms, agents, pools, comment }: DowntimeRecord): Record<string, unknown> {
  return { schedule, durationMs: ms, agents: agents.slice(0, 20), pools, comment };
}
