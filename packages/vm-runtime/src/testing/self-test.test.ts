import { expect, test } from 'vitest';
import { CountingDriver } from '../counted-sandboxes.test.fixture.ts';
import { sandboxCases } from './sandbox-cases.ts';
import { selfTest, type SelfTestResult } from './self-test.ts';

test('tells of every case what became of it, and leaves out what a host must not be put to', async () => {
  const driver = new CountingDriver();
  const image = { digest: `sha256:${'0'.repeat(64)}`, driver: driver.name, sizeBytes: 0 };
  const results: SelfTestResult[] = [];
  // Its sandboxes only exist: they run nothing, and nothing ends.
  for await (const result of selfTest({ driver, image }, new AbortController().signal, 20)) results.push(result);
  expect(results.map(({ name }) => name)).toEqual(sandboxCases.map(({ name }) => name));
  const outcomes = new Map(results.map(({ name, outcome }) => [name, outcome]));
  for (const { name, needs } of sandboxCases) {
    if (needs === 'isolation') expect(outcomes.get(name)).toBe('left-out');
  }
  expect(results[0]!.outcome).toBe('failed');
  expect(results.map(({ message }) => message)).toContain('it is not done after 20 ms');
});

test('ends with the reason of who gives it up', async () => {
  const driver = new CountingDriver();
  const image = { digest: `sha256:${'0'.repeat(64)}`, driver: driver.name, sizeBytes: 0 };
  const results = selfTest({ driver, image }, AbortSignal.abort(new Error('enough')));
  await expect(results.next()).rejects.toThrow('enough');
});
