import { checkRollout } from '@drover/agent-rollouts';
import { DroverError } from '@drover/lease-kit';
import { checkText, checkUuid, storedMessage } from './check-store-input.ts';
import type { RolloutChange, RolloutDraft, RolloutRecord } from './rollout-store.ts';

/** What a store keeps of a roll-out beside its draft; times are its own. */
export type RolloutProgress = Pick<RolloutRecord, 'rolloutId' | 'state' | 'ring' | 'reason'> & {
  readonly ringDone: boolean;
};

/** Throws for a draft that no store takes. */
export function checkRolloutDraft(draft: RolloutDraft): void {
  checkRollout(draft);
  checkUuid('rolloutId', draft.rolloutId);
  checkText('version', draft.version, 64);
  for (const { hash } of draft.bundles) checkText('bundle', hash, 64);
}

/** What a channel goes back to once `before` has been replaced. */
export function previousOf(before: RolloutRecord | undefined): RolloutRecord['previous'] {
  if (before?.state !== 'complete') return before?.previous;
  return { version: before.version, bundles: before.bundles };
}

/** Where a roll-out stands after a change. Throws `ROLLOUT_STATE`. */
export function changedRollout(record: RolloutRecord, change: RolloutChange): RolloutProgress {
  const { rolloutId, state, ring } = record;
  const is = (...states: RolloutRecord['state'][]): void => {
    if (states.includes(state)) return;
    throw new DroverError({
      code: 'ROLLOUT_STATE',
      advice: 'conflict',
      message: `the roll-out of ${record.channel} is ${state}; ${change.kind} is for one that is ${states.join(' or ')}`,
      details: { channel: record.channel, state },
    });
  };
  switch (change.kind) {
    case 'halt': {
      is('rolling', 'complete');
      const { code, message } = change.reason;
      const reason = { code: storedMessage(code), message: storedMessage(message) };
      return { rolloutId, state: 'halted', ring, reason, ringDone: false };
    }
    case 'resume':
      is('halted');
      checkUuid('rolloutId', change.rolloutId);
      return { rolloutId: change.rolloutId, state: 'rolling', ring, ringDone: false };
    case 'ring-done':
      is('rolling');
      return { rolloutId, state, ring, ringDone: true };
    case 'next-ring':
      is('rolling');
      return { rolloutId, state, ring: Math.min(ring + 1, record.rings.length - 1), ringDone: false };
    case 'complete':
      is('rolling');
      return { rolloutId, state: 'complete', ring: record.rings.length - 1, ringDone: true };
  }
}

/** What the audit keeps of a roll-out. */
export function auditedRollout(record: RolloutRecord | undefined): Record<string, unknown> | undefined {
  if (record === undefined) return undefined;
  const { version, bundles, rings, ring, state } = record;
  return { version, bundles: bundles.map(({ platform, hash }) => ({ platform, hash })), rings, ring, state };
}

export function rolloutNotFound(channel: string): DroverError {
  return new DroverError({
    code: 'ROLLOUT_NOT_FOUND',
    advice: 'not-found',
    message: `Channel ${JSON.stringify(channel)} has no roll-out.`,
    details: { channel },
  });
}

/** Somebody else changed a roll-out since it was read. */
export function rolloutChanged(channel: string): DroverError {
  return new DroverError({
    code: 'ROLLOUT_CHANGED',
    advice: 'conflict',
    message: `The roll-out of ${channel} has changed meanwhile; look at it again.`,
    details: { channel },
  });
}

/** Too many channels. */
export function channelsFull(max: number): DroverError {
  return new DroverError({
    code: 'CHANNELS_FULL',
    advice: 'exhausted',
    message: `There are ${max} channels, which is the most allowed.`,
    details: { max },
  });
}
