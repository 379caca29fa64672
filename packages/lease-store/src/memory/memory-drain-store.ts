import { checkDrains, checkReleases, storedMessage } from '../check-store-input.ts';
import type { DrainStore } from '../drain-store.ts';
import type { MemoryData } from './memory-data.ts';

/** The drains of a memory store. */
export function memoryDrainStore(data: MemoryData): DrainStore {
  return {
    record: async (drains, context) => {
      data.enter(context);
      checkDrains(drains);
      for (const { source, reason, ttlMs, ...session } of drains) {
        const agent = data.agents.get(session.agentId);
        if (!agent || !data.isCurrent(session)) continue;
        agent.drain = { source, reason: storedMessage(reason), untilMs: data.clock.wallMs() + ttlMs };
      }
    },
    release: async (drains, context) => {
      data.enter(context);
      checkReleases(drains);
      for (const { source, ...session } of drains) {
        const agent = data.agents.get(session.agentId);
        if (agent?.drain?.source === source && data.isCurrent(session)) agent.drain = undefined;
      }
    },
  };
}
