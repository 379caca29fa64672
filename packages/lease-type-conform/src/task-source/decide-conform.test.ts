import { describe, expect, test } from 'vitest';
import { decideConform, type ConformFacts } from './decide-conform.ts';

const setDigest = 'now';
const base: ConformFacts = { setDigest, workspaces: 2, removesOthers: false, nowMs: 10_000 };
const end = (atMs: number, succeeded = true, code?: string) => ({
  outcome: succeeded ? ('completed' as const) : ('failed' as const),
  succeeded,
  atMs,
  ...(code === undefined ? {} : { reason: { code, message: '' } }),
});
const same = { setDigest, clean: true };
const other = { setDigest: 'before', clean: true };
const wanted = (
  state: NonNullable<ConformFacts['record']>['state'],
  atMs?: number,
  succeeded = true,
  code?: string,
) => ({
  state,
  requestedAtMs: 5_000,
  ...(atMs === undefined ? {} : { last: end(atMs, succeeded, code) }),
});
const changed = { cause: 'set-changed', clean: false } as const;

describe('an agent of which nobody asks it', () => {
  test.each<[string, Partial<ConformFacts>, ReturnType<typeof decideConform>]>([
    ['never, with workspaces', {}, { cause: 'set-changed', clean: false }],
    ['never, without workspaces', { workspaces: 0 }, undefined],
    ['waits for the same set', { record: wanted('waiting'), wish: same }, undefined],
    ['drains for the same set', { record: wanted('draining'), wish: same }, undefined],
    [
      'backs off, and the set changes',
      { record: wanted('waiting', 6_000, false), wish: other },
      { ...changed, clean: true },
    ],
    ['is at another set', { record: wanted('carried'), wish: other }, changed],
    ['is at the same set', { record: wanted('carried'), wish: same }, undefined],
    ['is being withdrawn', { record: wanted('withdrawing'), wish: other }, undefined],
    ['was away until it expired', { record: wanted('expired'), wish: same }, { ...changed, clean: true }],
    ['has conformed to the same set', { record: wanted('ended', 6_000), wish: same }, undefined],
    ['has conformed to another set', { record: wanted('ended', 6_000), wish: other }, changed],
    ['has conformed to one that it cannot read', { record: wanted('ended', 6_000) }, changed],
    ['keeps nothing any more', { record: wanted('ended', 6_000), wish: other, workspaces: 0 }, undefined],
    [
      'is to remove the last one',
      { record: wanted('ended', 6_000), wish: other, workspaces: 0, removesOthers: true },
      changed,
    ],
    ['was withdrawn', { record: wanted('ended'), wish: same }, undefined],
    ['was given up', { record: wanted('ended', 6_000, false, 'CONFORM_INCOMPLETE'), wish: same }, undefined],
    [
      'had no handler, and has one now',
      { record: wanted('ended', 6_000, false, 'LEASE_TYPE_UNKNOWN'), wish: same },
      changed,
    ],
    ['interval not over', { record: wanted('ended', 6_000), wish: same, intervalMs: 4_001 }, undefined],
    [
      'interval over',
      { record: wanted('ended', 6_000), wish: same, intervalMs: 4_000 },
      { cause: 'interval', clean: false },
    ],
    [
      'interval over since it was withdrawn',
      { record: wanted('ended'), wish: same, intervalMs: 5_000 },
      { cause: 'interval', clean: false },
    ],
    [
      'interval over while it backs off',
      { record: wanted('waiting', 5_500, false), wish: same, intervalMs: 1 },
      undefined,
    ],
  ])('%s', (_, facts, expected) => {
    expect(decideConform({ ...base, ...facts })).toEqual(expected);
  });
});
