import { definePools, poolKey, type PoolDefinition } from '@drover/lease-matching';
import type { DowntimeDraft, DowntimeSchedule } from './agent-settings-store.ts';
import type { PoolDraft } from './pool-store.ts';
import { checkCount, checkText, checkUuid, checkWhole } from './check-store-input.ts';
import { inputInvalid } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

/** Throws `POOL_INVALID`, or `STORE_INPUT_INVALID` and `STORE_CALL_TOO_LARGE` for a pool beyond the bounds of a store. */
export function checkPoolDraft(pool: PoolDraft): void {
  definePools([pool]);
  checkText('name', pool.name, storeLimits.nameLengthMax);
  checkCount('agents', pool.agents?.length ?? 0, storeLimits.poolAgentsMax);
  pool.agents?.forEach((agentId, index) => checkText(`agents[${index}]`, agentId, storeLimits.idLengthMax));
  for (const principal of Object.keys(pool.weights ?? {})) checkText('weights', principal, storeLimits.nameLengthMax);
  checkText('comment', pool.comment ?? '', storeLimits.commentLengthMax, true);
}

/** A pool as it is stored: names without space around them, each agent once, weights only if there are any. */
export function storedPool({ name, agents, condition, weights = {}, comment = '' }: PoolDraft): PoolDefinition & {
  readonly key: string;
  readonly comment: string;
} {
  return {
    key: poolKey(name),
    name: name.trim(),
    ...(agents === undefined ? {} : { agents: [...new Set(agents)] }),
    ...(condition === undefined ? {} : { condition }),
    ...(Object.keys(weights).length === 0 ? {} : { weights: { ...weights } }),
    comment,
  };
}

/** Throws for agents that no call may name. */
export function checkAgentIds(agentIds: readonly string[]): void {
  checkWhole('agentIds.length', agentIds.length, 1, storeLimits.pageMax);
  agentIds.forEach((agentId, index) => checkText(`agentIds[${index}]`, agentId, storeLimits.idLengthMax));
}

/** Throws for a page that is none. */
export function checkPage(page: { readonly after?: string; readonly limit: number }): void {
  checkWhole('limit', page.limit, 1, storeLimits.pageMax);
  if (page.after !== undefined) checkText('after', page.after, storeLimits.idLengthMax, true);
}

const dayMs = 86_400_000;
const startMsMax = 8_640_000_000_000_000 / 2;

/** Throws for a downtime that no store takes. Whether its time zone exists is for the caller to find out. */
export function checkDowntime(draft: DowntimeDraft): void {
  const { schedule, durationMs, agents, pools } = draft;
  checkUuid('downtimeId', draft.downtimeId);
  checkSchedule(schedule);
  const longestMs = schedule.kind === 'once' ? 366 * dayMs : schedule.kind === 'daily' ? dayMs : 7 * dayMs;
  checkWhole('durationMs', durationMs, 60_000, longestMs);
  checkCount('agents', agents.length, storeLimits.pageMax);
  agents.forEach((agentId, index) => checkText(`agents[${index}]`, agentId, storeLimits.idLengthMax));
  checkCount('pools', pools.length, storeLimits.downtimePoolsMax);
  pools.forEach((name, index) => checkText(`pools[${index}]`, name, storeLimits.nameLengthMax));
  checkText('comment', draft.comment, storeLimits.commentLengthMax, true);
}

function checkSchedule(schedule: DowntimeSchedule): void {
  if (schedule.kind === 'once') return checkWhole('schedule.startMs', schedule.startMs, 0, startMsMax);
  if (!/^([01]\d|2[0-3]):[0-5]\d$/.test(schedule.time)) {
    throw inputInvalid('schedule.time', JSON.stringify(schedule.time.slice(0, 80)), 'HH:MM from 00:00 to 23:59');
  }
  checkText('schedule.timeZone', schedule.timeZone, storeLimits.idLengthMax);
  if (schedule.kind === 'daily') return;
  checkWhole('schedule.days.length', schedule.days.length, 1, 7);
  schedule.days.forEach((day, index) => checkWhole(`schedule.days[${index}]`, day, 1, 7));
}
