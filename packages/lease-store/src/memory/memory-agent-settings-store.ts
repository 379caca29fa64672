import { principalName } from '@drover/lease-kit';
import type { AgentSettings, AgentSettingsStore, DowntimeRecord, SettingNote } from '../agent-settings-store.ts';
import { checkAgentIds, checkDowntime, checkPage } from '../check-fleet-input.ts';
import { checkText, checkWhole } from '../check-store-input.ts';
import type { StoreContext } from '../store-context.ts';
import { agentsNotFound, downtimeNotFound, downtimesFull } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryData } from './memory-data.ts';

/** The settings of agents in a memory store. */
export function memoryAgentSettingsStore(data: MemoryData): AgentSettingsStore {
  const { clock, settings } = data;
  const downtimes = new Map<string, DowntimeRecord>();
  const note = (comment: string, { principal }: StoreContext): SettingNote => ({
    comment,
    by: principalName(principal),
    atMs: clock.wallMs(),
  });
  const known = (agentIds: readonly string[], context: StoreContext): void => {
    data.enter(context);
    checkAgentIds(agentIds);
    const missing = agentIds.filter((agentId) => !data.agents.has(agentId));
    if (missing.length > 0) throw agentsNotFound(missing);
  };
  const current = (one: AgentSettings): AgentSettings | undefined => {
    const { agentId, disabled, busy } = one;
    const isBusy = busy !== undefined && busy.untilMs > clock.wallMs();
    if (disabled === undefined && !isBusy) return undefined;
    return { agentId, ...(disabled ? { disabled } : {}), ...(isBusy ? { busy } : {}) };
  };
  return {
    settings: async (page, context) => {
      data.enter(context);
      checkPage(page);
      return [...settings.values()]
        .flatMap((one) => current(one) ?? [])
        .filter(({ agentId }) => agentId > (page.after ?? ''))
        .sort((a, b) => (a.agentId < b.agentId ? -1 : 1))
        .slice(0, page.limit);
    },
    settingsOf: async (agentIds, context) => {
      data.enter(context);
      if (agentIds.length === 0) return [];
      checkAgentIds(agentIds);
      return agentIds.flatMap((agentId) => current(settings.get(agentId) ?? { agentId }) ?? []);
    },
    setEnabled: async (agentIds, { enabled, comment }, context) => {
      checkText('comment', comment, storeLimits.commentLengthMax, true);
      known(agentIds, context);
      for (const agentId of agentIds) {
        const { disabled: _, ...rest } = settings.get(agentId) ?? { agentId };
        settings.set(agentId, enabled ? rest : { ...rest, disabled: note(comment, context) });
      }
    },
    setBusy: async (agentIds, { busyForMs, comment }, context) => {
      checkText('comment', comment, storeLimits.commentLengthMax, true);
      checkWhole('busyForMs', busyForMs, 0, storeLimits.busyForMsMax);
      known(agentIds, context);
      for (const agentId of agentIds) {
        const { busy: _, ...rest } = settings.get(agentId) ?? { agentId };
        const busy = { ...note(comment, context), untilMs: clock.wallMs() + busyForMs };
        settings.set(agentId, busyForMs === 0 ? rest : { ...rest, busy });
      }
    },
    downtimes: async (page, context) => {
      data.enter(context);
      checkPage(page);
      return [...downtimes.values()]
        .filter(({ downtimeId }) => downtimeId > (page.after ?? ''))
        .sort((a, b) => (a.downtimeId < b.downtimeId ? -1 : 1))
        .slice(0, page.limit);
    },
    addDowntime: async (draft, context) => {
      data.enter(context);
      checkDowntime(draft);
      for (const { downtimeId, schedule, durationMs } of downtimes.values()) {
        const overMs = schedule.kind === 'once' ? schedule.startMs + durationMs : Infinity;
        if (overMs + storeLimits.pastDowntimeMs < clock.wallMs()) downtimes.delete(downtimeId);
      }
      if (downtimes.size >= storeLimits.downtimesMax) throw downtimesFull(storeLimits.downtimesMax);
      const record = { ...structuredClone(draft), ...note(draft.comment, context) };
      downtimes.set(draft.downtimeId, record);
      return record;
    },
    removeDowntime: async (downtimeId, context) => {
      data.enter(context);
      const record = downtimes.get(downtimeId);
      if (!record) throw downtimeNotFound(downtimeId);
      downtimes.delete(downtimeId);
      return record;
    },
  };
}
