import { DroverError } from '@drover/lease-kit';

/** A time of the week, in minutes since Monday 00:00 local time. */
export interface BusyWindow {
  /** As it was written. */
  readonly text: string;
  /** Days on which it begins, 0 is Monday. */
  readonly days: readonly number[];
  /** Minutes of the day. */
  readonly from: number;
  /** Minutes of the day; at or before `from`, it ends on the day after. */
  readonly to: number;
}

const dayNames = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const dayMinutes = 1_440;
const allowed =
  'allowed is DAYS HH:MM-HH:MM with days such as mon, mon-fri or sat,sun, e.g. "mon-fri 08:00-18:00"; local time';

/** Reads e.g. `mon-fri 08:00-18:00` or `sat,sun 22:00-06:00`. Throws `BUSY_WINDOW_INVALID`. */
export function parseBusyWindow(text: string): BusyWindow {
  const parts = /^\s*([a-z,-]+)\s+(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})\s*$/i.exec(text);
  const invalid = (problem: string): DroverError =>
    new DroverError({
      code: 'BUSY_WINDOW_INVALID',
      advice: 'fix-input',
      message: `${JSON.stringify(text.slice(0, 80))} ${problem}; ${allowed}`,
    });
  if (!parts) throw invalid('is no window of the week');
  const [, dayText = '', fromHour, fromMinute, toHour, toMinute] = parts;
  const days = new Set<number>();
  for (const range of dayText.toLowerCase().split(',')) {
    const [first = '', last = first, more] = range.split('-');
    const from = dayNames.indexOf(first);
    const to = dayNames.indexOf(last);
    if (from < 0 || to < 0 || more !== undefined) throw invalid(`names no day with "${range}"`);
    for (let day = from; ; day = (day + 1) % 7) {
      days.add(day);
      if (day === to) break;
    }
  }
  const minutes = (hour: string | undefined, minute: string | undefined): number => {
    const value = Number(hour) * 60 + Number(minute);
    if (Number(minute) > 59 || value > dayMinutes) throw invalid(`names no time of day with ${hour}:${minute}`);
    return value;
  };
  const from = minutes(fromHour, fromMinute);
  const to = minutes(toHour, toMinute);
  if (from === to || from === dayMinutes) throw invalid('has no length');
  return { text: text.trim(), days: [...days].sort((a, b) => a - b), from, to };
}

/** The first of the windows that a moment is in, by this machine's local time. */
export function busyWindowAt(windows: readonly BusyWindow[], wallMs: number): BusyWindow | undefined {
  const at = new Date(wallMs);
  const day = (at.getDay() + 6) % 7;
  const minute = at.getHours() * 60 + at.getMinutes();
  return windows.find(({ days, from, to }) => {
    if (from < to) return days.includes(day) && minute >= from && minute < to;
    return (days.includes(day) && minute >= from) || (days.includes((day + 6) % 7) && minute < to);
  });
}
