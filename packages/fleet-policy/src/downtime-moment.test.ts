import type { DowntimeSchedule } from '@drover/lease-store';
import { describe, expect, test } from 'vitest';
import { downtimeMoment, nextDowntimes, timeZoneProblem } from './downtime-moment.ts';

const at = (text: string): number => Date.parse(text);
const hourMs = 3_600_000;

describe('the moment of a downtime', () => {
  const berlin = 'Europe/Berlin';
  const once: DowntimeSchedule = { kind: 'once', startMs: at('2026-06-01T10:00:00Z') };
  const nightly: DowntimeSchedule = { kind: 'daily', time: '23:00', timeZone: berlin };
  const early: DowntimeSchedule = { kind: 'daily', time: '01:00', timeZone: berlin };
  const skipped: DowntimeSchedule = { kind: 'daily', time: '02:30', timeZone: berlin };
  const weekend: DowntimeSchedule = { kind: 'weekly', days: [6, 7], time: '00:00', timeZone: 'America/New_York' };
  const allWeek: DowntimeSchedule = { kind: 'weekly', days: [1], time: '12:00', timeZone: 'UTC' };
  test.each([
    ['before it', once, 2, '2026-06-01T09:00:00Z', undefined, '2026-06-01T10:00:00Z'],
    ['at its begin', once, 2, '2026-06-01T10:00:00Z', '2026-06-01T12:00:00Z', '2026-06-01T12:00:00Z'],
    ['at its end', once, 2, '2026-06-01T12:00:00Z', undefined, undefined],
    ['past midnight', nightly, 4, '2026-06-02T00:30:00Z', '2026-06-02T01:00:00Z', '2026-06-02T01:00:00Z'],
    ['after the night', nightly, 4, '2026-06-02T01:00:00Z', undefined, '2026-06-02T21:00:00Z'],
    ['in winter', nightly, 4, '2026-01-02T22:30:00Z', '2026-01-03T02:00:00Z', '2026-01-03T02:00:00Z'],
    ['in the night of 23 hours', early, 3, '2026-03-29T02:59:00Z', '2026-03-29T03:00:00Z', '2026-03-29T03:00:00Z'],
    ['in the night of 25 hours', early, 3, '2026-10-25T01:30:00Z', '2026-10-25T02:00:00Z', '2026-10-25T02:00:00Z'],
    ['at a time that is skipped', skipped, 1, '2026-03-29T01:30:00Z', '2026-03-29T02:30:00Z', '2026-03-29T02:30:00Z'],
    ['at a time that comes twice', skipped, 1, '2026-10-25T00:30:00Z', '2026-10-25T01:30:00Z', '2026-10-25T01:30:00Z'],
    ['and not the second time', skipped, 1, '2026-10-25T01:30:00Z', undefined, '2026-10-26T01:30:00Z'],
    ['on Saturday', weekend, 24, '2026-06-06T05:00:00Z', '2026-06-07T04:00:00Z', '2026-06-07T04:00:00Z'],
    ['on Monday', weekend, 24, '2026-06-08T04:00:00Z', undefined, '2026-06-13T04:00:00Z'],
    ['of a whole week', allWeek, 168, '2026-06-02T00:00:00Z', '2026-06-08T12:00:00Z', '2026-06-08T12:00:00Z'],
  ])('%s', (_, schedule, hours, now, until, change) => {
    const moment = downtimeMoment({ schedule, durationMs: hours * hourMs }, at(now));
    expect(moment.untilMs, 'until').toBe(until && at(until));
    expect(moment.nextChangeMs, 'change').toBe(change && at(change));
  });

  test('what comes next can be looked at', () => {
    const next = nextDowntimes({ schedule: weekend, durationMs: hourMs }, at('2026-06-06T05:30:00Z'), 3);
    expect(next.map(({ startMs }) => new Date(startMs).toISOString())).toEqual([
      '2026-06-07T04:00:00.000Z',
      '2026-06-13T04:00:00.000Z',
      '2026-06-14T04:00:00.000Z',
    ]);
  });

  test('a time zone is one that exists', () => {
    for (const name of ['UTC', berlin, 'america/new_york', '+05:30']) expect(timeZoneProblem(name)).toBeUndefined();
    for (const name of ['', 'Mars/Olympus', '+99:00', 'x'.repeat(300)]) {
      expect(timeZoneProblem(name)).toMatch('is no time zone');
    }
  });
});
