import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { JobState, LeaseState } from '@drover/control-api';
import { AgentCondition, Outcome } from '@drover/lease-protocol';

/** Enum values as the words that people use, in tables and in `--json`. */
const jobStates: Readonly<Record<number, string>> = {
  [JobState.WAITING]: 'waiting',
  [JobState.RUNNING]: 'running',
  [JobState.SUCCEEDED]: 'succeeded',
  [JobState.FAILED]: 'failed',
  [JobState.CANCELLED]: 'cancelled',
};
const leaseStates: Readonly<Record<number, string>> = {
  [LeaseState.WAITING]: 'waiting',
  [LeaseState.OFFERED]: 'offered',
  [LeaseState.RUNNING]: 'running',
  [LeaseState.CANCELLING]: 'cancelling',
  [LeaseState.ENDED]: 'ended',
};
const outcomes: Readonly<Record<number, string>> = {
  [Outcome.COMPLETED]: 'completed',
  [Outcome.FAILED]: 'failed',
  [Outcome.TIMED_OUT]: 'timed out',
  [Outcome.CANCELLED]: 'cancelled',
  [Outcome.LOST]: 'lost',
};
const conditions: Readonly<Record<number, string>> = {
  [AgentCondition.READY]: 'ready',
  [AgentCondition.BUSY]: 'busy',
  [AgentCondition.STOPPING]: 'stopping',
  [AgentCondition.UNHEALTHY]: 'unhealthy',
};

export const jobStateWord = (state: JobState): string => jobStates[state] ?? `state ${state}`;
export const leaseStateWord = (state: LeaseState): string => leaseStates[state] ?? `state ${state}`;
export const outcomeWord = (outcome: Outcome): string => outcomes[outcome] ?? `outcome ${outcome}`;
export const conditionWord = (condition: AgentCondition): string => conditions[condition] ?? 'ready';

/** True for a state that does not change any more. */
export function jobHasEnded(state: JobState): boolean {
  return state === JobState.SUCCEEDED || state === JobState.FAILED || state === JobState.CANCELLED;
}

/** How long ago a time was, in its largest unit: `12s`, `3min`, `2h`, `5d`. `-` for none. */
export function ago(time: Timestamp | undefined, nowMs = Date.now()): string {
  return time === undefined ? '-' : span(Math.max(0, nowMs - timestampMs(time)));
}

/** A duration in its largest unit. */
export function span(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)}s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)}min`;
  if (ms < 86_400_000) return `${Math.floor(ms / 3_600_000)}h`;
  return `${Math.floor(ms / 86_400_000)}d`;
}

/** The part of an id that people type; servers take any prefix that is unique. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** Bytes in binary multiples. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1_024 && unit < units.length - 1) {
    value /= 1_024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A time as people of this machine read it, to the minute. */
export function timeText(time: Timestamp): string {
  return new Date(timestampMs(time)).toLocaleString('sv-SE', { dateStyle: 'short', timeStyle: 'short' });
}

/** A number with its noun, e.g. `1 output`, `2 outputs`. */
export const countWord = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
