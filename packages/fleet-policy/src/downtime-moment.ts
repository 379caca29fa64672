import type { DowntimeRecord, DowntimeSchedule } from '@drover/lease-store';
import { Temporal } from 'temporal-polyfill';

/** Where a downtime stands at one moment. */
export interface DowntimeMoment {
  /** When the one under way ends; absent: none is. */
  readonly untilMs?: number;
  /** When the next one begins or the one under way ends, whichever is first; absent: never. */
  readonly nextChangeMs?: number;
}

type Occurring = Pick<DowntimeRecord, 'schedule' | 'durationMs'>;

const dayMs = 86_400_000;

/** What is wrong with the name of a time zone; undefined: nothing. IANA names and offsets such as `+01:00` are time zones. */
export function timeZoneProblem(name: string): string | undefined {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name);
    return undefined;
  } catch {
    return `${JSON.stringify(name.slice(0, 64))} is no time zone`;
  }
}

/**
 * Where a downtime stands. It begins at its time of day in its zone and lasts its duration of real time: one of 3 hours that
 * begins at 01:00 ends at 05:00 in the night in which clocks go forward. A time of day that such a night skips means the
 * moment as much later as the clocks went forward; one that comes twice means the first (RFC 5545).
 */
export function downtimeMoment(downtime: Occurring, nowMs: number): DowntimeMoment {
  let untilMs: number | undefined;
  let nextChangeMs: number | undefined;
  for (const startMs of startsAround(downtime, nowMs)) {
    const endMs = startMs + downtime.durationMs;
    if (startMs <= nowMs && nowMs < endMs) untilMs = Math.max(untilMs ?? 0, endMs);
    const changeMs = startMs > nowMs ? startMs : endMs;
    if (changeMs > nowMs) nextChangeMs = Math.min(nextChangeMs ?? Infinity, changeMs);
  }
  return {
    ...(untilMs === undefined ? {} : { untilMs }),
    ...(nextChangeMs === undefined ? {} : { nextChangeMs }),
  };
}

/** Begin and end of the first `count` occurrences that are not over, for people to check what they wrote. */
export function nextDowntimes(
  downtime: Occurring,
  nowMs: number,
  count: number,
): readonly { readonly startMs: number; readonly endMs: number }[] {
  const { durationMs } = downtime;
  return startsAround(downtime, nowMs, count * 7 + 8)
    .map((startMs) => ({ startMs, endMs: startMs + durationMs }))
    .filter(({ endMs }) => endMs > nowMs)
    .slice(0, count);
}

/** The starts, in their order, of all occurrences that can matter now, and of those of the next `days` days. */
function startsAround({ schedule, durationMs }: Occurring, nowMs: number, days = 8): number[] {
  if (schedule.kind === 'once') return [schedule.startMs];
  const today = Temporal.Instant.fromEpochMilliseconds(nowMs).toZonedDateTimeISO(schedule.timeZone).toPlainDate();
  const time = Temporal.PlainTime.from(schedule.time);
  const starts: number[] = [];
  for (let offset = -Math.ceil(durationMs / dayMs) - 1; offset <= days; offset += 1) {
    const date = today.add({ days: offset });
    if (!isOn(schedule, date.dayOfWeek)) continue;
    starts.push(date.toZonedDateTime({ timeZone: schedule.timeZone, plainTime: time }).epochMilliseconds);
  }
  return starts;
}

function isOn(schedule: DowntimeSchedule, dayOfWeek: number): boolean {
  return schedule.kind !== 'weekly' || schedule.days.some((day) => day === dayOfWeek);
}
