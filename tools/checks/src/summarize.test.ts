import { expect, test } from 'vitest';
import { oneResult, type CheckResult } from './check.ts';
import { summarize } from './summarize.ts';

const tests = (result: Partial<CheckResult>): CheckResult => ({
  passed: 3,
  failed: 0,
  skips: [],
  output: '',
  testsRun: 3,
  ...result,
});
const local = { knownKeys: new Set(['needs-kvm']), isCi: false };
const ci = { ...local, isCi: true };

test('adds up checks and tests in one line', () => {
  expect(summarize([oneResult(true, ''), tests({})], ci)).toEqual({
    line: '4 passed, 0 failed',
    exitCode: 0,
    remarks: [],
  });
  expect(summarize([oneResult(false, ''), tests({})], ci)).toMatchObject({ line: '3 passed, 1 failed', exitCode: 1 });
});

test('a run in which no test ran has failed', () => {
  expect(summarize([oneResult(true, '')], local)).toMatchObject({ line: '1 passed, 1 failed', exitCode: 1 });
});

test('a skip is counted and printed with its reason', () => {
  const skips = [{ name: 'boots', key: 'needs-kvm' }];
  expect(summarize([tests({ skips })], ci)).toEqual({
    line: '3 passed, 0 failed, 1 skipped',
    exitCode: 0,
    remarks: ['skipped  boots (docs/LIMITS.md: needs-kvm)'],
  });
});

test('a skip that LIMITS does not name fails in CI and is pointed out elsewhere', () => {
  const skips = [
    { name: 'boots', key: 'unheard-of' },
    { name: 'flies', key: undefined },
  ];
  expect(summarize([tests({ skips })], ci)).toMatchObject({ line: '3 passed, 2 failed, 2 skipped', exitCode: 1 });
  expect(summarize([tests({ skips })], local)).toMatchObject({
    exitCode: 0,
    remarks: [
      'skipped  boots (docs/LIMITS.md has no row unheard-of)',
      'skipped  flies (it names no reason; add [limits:key] to its name)',
    ],
  });
});
