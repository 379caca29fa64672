import { rolloutGroup } from '@drover/agent-rollouts';
import { principalName } from '@drover/lease-kit';
import { checkPage } from '../check-fleet-input.ts';
import {
  auditedRollout,
  changedRollout,
  channelsFull,
  checkRolloutDraft,
  previousOf,
  rolloutChanged,
  rolloutNotFound,
} from '../rollout-change.ts';
import type { RolloutRecord, RolloutStore } from '../rollout-store.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { MemoryData } from './memory-data.ts';

type Kept = Omit<RolloutRecord, 'ringDoneForMs'> & { readonly ringDoneAtMs?: number };

/** The roll-outs of a memory store. */
export function memoryRolloutStore(data: MemoryData, audit: MemoryAudit): RolloutStore {
  const rollouts = new Map<string, Kept>();
  const shown = (kept: Kept | undefined): RolloutRecord | undefined => {
    if (kept === undefined) return undefined;
    const { ringDoneAtMs, ...record } = kept;
    return ringDoneAtMs === undefined ? record : { ...record, ringDoneForMs: data.clock.wallMs() - ringDoneAtMs };
  };
  /** Takes back what has not begun. */
  const stop = ({ rolloutId }: RolloutRecord): void => {
    for (const listener of data.onGroupStopped) listener(rolloutGroup(rolloutId));
  };
  return {
    startRollout: async (draft, context) => {
      data.enter(context);
      checkRolloutDraft(draft);
      const before = shown(rollouts.get(draft.channel));
      if (before === undefined && rollouts.size >= storeLimits.channelsMax) throw channelsFull(storeLimits.channelsMax);
      const previous = previousOf(before);
      rollouts.set(draft.channel, {
        ...draft,
        revision: (before?.revision ?? 0) + 1,
        state: 'rolling',
        ring: 0,
        ...(previous === undefined ? {} : { previous }),
        startedBy: principalName(context.principal),
        startedAtMs: data.clock.wallMs(),
      });
      if (before !== undefined) stop(before);
      const record = shown(rollouts.get(draft.channel))!;
      audit.write(context, {
        subject: `channel:${draft.channel}`,
        ...(before === undefined ? {} : { before: auditedRollout(before)! }),
        after: auditedRollout(record)!,
      });
      return record;
    },
    rollout: async (channel, context) => {
      data.enter(context);
      return shown(rollouts.get(channel));
    },
    rollouts: async (page, context) => {
      data.enter(context);
      checkPage(page);
      return [...rollouts.values()]
        .filter(({ channel }) => channel > (page.after ?? ''))
        .sort((a, b) => (a.channel < b.channel ? -1 : 1))
        .slice(0, page.limit)
        .map((kept) => shown(kept)!);
    },
    changeRollout: async (channel, revision, change, context) => {
      data.enter(context);
      const kept = rollouts.get(channel);
      const before = shown(kept);
      if (kept === undefined || before === undefined) throw rolloutNotFound(channel);
      if (kept.revision !== revision) throw rolloutChanged(channel);
      const { ringDone, ...progress } = changedRollout(before, change);
      const { reason: _reason, ringDoneAtMs, ...rest } = kept;
      rollouts.set(channel, {
        ...rest,
        ...progress,
        revision: revision + 1,
        ...(ringDone ? { ringDoneAtMs: ringDoneAtMs ?? data.clock.wallMs() } : {}),
      });
      const record = shown(rollouts.get(channel))!;
      if (record.state === 'halted' || record.rolloutId !== before.rolloutId) stop(before);
      audit.write(context, {
        subject: `channel:${channel}`,
        before: auditedRollout(before)!,
        after: auditedRollout(record)!,
      });
      return record;
    },
  };
}
