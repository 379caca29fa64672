import { describe, expect, test, vi } from 'vitest';
import { openServiceNotifier } from './service-notifier.ts';

function opened(env: Record<string, string | undefined>, send = async (): Promise<void> => undefined) {
  const sent: (readonly string[])[] = [];
  const failures: unknown[] = [];
  const notifier = openServiceNotifier(
    { env, pid: 7 },
    {
      onFailure: (error) => void failures.push(error),
      async send(_, assignments) {
        sent.push(assignments);
        await send();
      },
    },
  );
  return { notifier, sent, failures };
}

describe('a process under a service manager', () => {
  test('tells that it is ready, how it is, and that it stops', async () => {
    const { notifier, sent } = opened({ NOTIFY_SOCKET: '/run/n' });
    notifier.ready('1.0.0: no session yet');
    await notifier[Symbol.asyncDispose]();
    notifier.stopping('draining\nMAINPID=1');
    await notifier[Symbol.asyncDispose]();
    expect(sent).toEqual([
      ['READY=1', 'STATUS=1.0.0: no session yet'],
      // A line break would be another assignment.
      ['STOPPING=1', 'STATUS=draining MAINPID=1'],
    ]);
  });

  test('sends one message at a time, and of what waits only the newest', async () => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    const { notifier, sent } = opened({ NOTIFY_SOCKET: '/run/n' }, () => held);
    notifier.ready('one');
    notifier.status('two');
    notifier.status('three');
    expect(sent).toHaveLength(1);
    release();
    await notifier[Symbol.asyncDispose]();
    expect(sent[1]).toEqual(['STATUS=three']);
  });

  test('its children are not told how to speak for it', () => {
    const env = { NOTIFY_SOCKET: '/run/n', WATCHDOG_USEC: '1000', WATCHDOG_PID: '8', PATH: '/bin' };
    opened(env);
    expect(env).toEqual({ PATH: '/bin' });
  });

  test('goes on when the manager cannot be told', async () => {
    const { notifier, sent, failures } = opened({ NOTIFY_SOCKET: '/run/n' }, () => Promise.reject(new Error('gone')));
    notifier.ready('one');
    await notifier[Symbol.asyncDispose]();
    notifier.status('two');
    await notifier[Symbol.asyncDispose]();
    expect(sent).toHaveLength(2);
    expect(failures).toHaveLength(2);
  });
});

test('a process without a manager tells nobody', async () => {
  const { notifier, sent } = opened({});
  notifier.ready('one');
  await notifier[Symbol.asyncDispose]();
  expect(sent).toEqual([]);
});

describe('a watchdog', () => {
  const pings = (env: Record<string, string>): number => {
    vi.useFakeTimers();
    try {
      const { notifier, sent } = opened({ NOTIFY_SOCKET: '/run/n', ...env });
      for (let step = 0; step < 4; step += 1) vi.advanceTimersByTime(250);
      void notifier[Symbol.asyncDispose]();
      vi.advanceTimersByTime(5_000);
      return sent.filter(([first]) => first === 'WATCHDOG=1').length;
    } finally {
      vi.useRealTimers();
    }
  };

  test.each([
    ['without one', {}, 0],
    ['of another process', { WATCHDOG_USEC: '1000000', WATCHDOG_PID: '8' }, 0],
  ])('%s is not told anything', (_, env, count) => {
    expect(pings(env)).toBe(count);
  });

  test('is told while the process lives, before it bites', () => {
    expect(pings({ WATCHDOG_USEC: '1000000', WATCHDOG_PID: '7' })).toBeGreaterThan(0);
  });
});
