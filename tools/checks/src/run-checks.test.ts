import { describe, expect, test } from 'vitest';
import { oneResult, type Check } from './check.ts';
import { runChecks } from './run-checks.ts';

const passing = (name: string, lanes: 1 | 2, log: string[]): Check => ({
  name,
  lanes,
  async run() {
    log.push(`+${name}`);
    await new Promise(setImmediate);
    log.push(`-${name}`);
    return oneResult(true, '');
  },
});

const silent = { started: () => undefined, ended: () => undefined };
const bounds = () => ({ lanes: 2, checkMsMax: 60_000, signal: new AbortController().signal });

describe('checks', () => {
  test('run two at a time, and one that takes both lanes runs alone', async () => {
    const log: string[] = [];
    const checks = [passing('a', 1, log), passing('b', 1, log), passing('c', 2, log), passing('d', 1, log)];
    expect(await runChecks(checks, silent, bounds())).toHaveLength(4);
    expect(log.slice(0, 2)).toEqual(['+a', '+b']);
    expect(log.slice(-4)).toEqual(['+c', '-c', '+d', '-d']);
  });

  test('that throw have failed, with what they threw', async () => {
    const broken: Check = { name: 'broken', lanes: 1, run: () => Promise.reject(new Error('no such tool')) };
    const [result] = await runChecks([broken], silent, bounds());
    expect(result).toMatchObject({ failed: 1, output: expect.stringContaining('no such tool') as string });
  });

  test('that take too long are told to stop and have failed', async () => {
    const slow: Check = {
      name: 'slow',
      lanes: 1,
      run: (signal) =>
        new Promise((resolve) => signal.addEventListener('abort', () => resolve(oneResult(true, 'half done')))),
    };
    const [result] = await runChecks([slow], silent, { ...bounds(), checkMsMax: 20 });
    expect(result).toMatchObject({ passed: 0, failed: 1, output: expect.stringContaining('longer than') as string });
  });

  test('that wait are not started after an abort', async () => {
    const abort = new AbortController();
    const log: string[] = [];
    const first: Check = {
      name: 'first',
      lanes: 2,
      run() {
        abort.abort();
        return Promise.resolve(oneResult(true, ''));
      },
    };
    await runChecks([first, passing('second', 1, log)], silent, { ...bounds(), signal: abort.signal });
    expect(log).toEqual([]);
  });
});
