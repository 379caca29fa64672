import fc from 'fast-check';
import { expect, test } from 'vitest';
import { busyWindowAt, parseBusyWindow } from './busy-windows.ts';

/** A moment of the week of Monday, 5 January 2026, in local time. */
const at = (day: number, hour: number, minute = 0): number => new Date(2026, 0, 5 + day, hour, minute).getTime();
const isBusy = (text: string, wallMs: number): boolean => busyWindowAt([parseBusyWindow(text)], wallMs) !== undefined;

test.each([
  ['mon-fri 08:00-18:00', at(0, 8), true],
  ['mon-fri 08:00-18:00', at(4, 17, 59), true],
  ['mon-fri 08:00-18:00', at(4, 18), false],
  ['mon-fri 08:00-18:00', at(5, 12), false],
  ['FRI 22:00-06:00', at(4, 23), true],
  ['fri 22:00-06:00', at(5, 5, 59), true],
  ['fri 22:00-06:00', at(4, 5), false],
  ['sun 22:00-06:00', at(7, 3), true],
  ['sat,mon 0:00-24:00', at(5, 23, 59), true],
  ['sat,mon 0:00-24:00', at(6, 0), false],
  ['fri-mon 10:00-11:00', at(6, 10), true],
  ['fri-mon 10:00-11:00', at(2, 10), false],
])('%s at %d: %s', (text, moment, busy) => expect(isBusy(text, moment)).toBe(busy));

test.each([
  ['', /is no window/],
  ['08:00-18:00', /is no window/],
  ['mon 8-18', /is no window/],
  ['noday 08:00-18:00', /names no day with "noday"/],
  ['mon-fri-sun 08:00-18:00', /names no day/],
  ['mon 08:60-18:00', /names no time of day with 08:60/],
  ['mon 24:30-25:00', /names no time/],
  ['mon 08:00-08:00', /has no length/],
])('%j is refused', (text, message) => {
  expect(() => parseBusyWindow(text)).toThrow(message);
  expect(() => parseBusyWindow(text)).toThrow(/allowed is DAYS HH:MM-HH:MM/);
});

test('over a week, a window is as long as it says, on as many days as it says', () => {
  const time = fc.integer({ min: 0, max: 47 }).map((half) => [Math.floor(half / 2), (half % 2) * 30] as const);
  const shown = ([hour, minute]: readonly [number, number]): string => `${hour}:${String(minute).padStart(2, '0')}`;
  fc.assert(
    fc.property(time, time, fc.subarray(['mon', 'wed', 'sun'], { minLength: 1 }), (from, to, days) => {
      fc.pre(shown(from) !== shown(to));
      const window = parseBusyWindow(`${days.join(',')} ${shown(from)}-${shown(to)}`);
      let halves = 0;
      for (let half = 0; half < 336; half += 1) {
        if (busyWindowAt([window], at(0, 0, half * 30))) halves += 1;
      }
      const length = to[0] * 2 + to[1] / 30 - (from[0] * 2 + from[1] / 30);
      expect(halves).toBe(days.length * (length > 0 ? length : length + 48));
    }),
  );
});
