import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { supervise } from './supervise.ts';
import { TestHome, type Behaviour } from './supervised-agents.test.fixture.ts';
import { readSwitch } from './switch-record.ts';
import { currentVersion, readVersion } from './version-folders.ts';

const child = join(import.meta.dirname, 'killed-at-step.test.child.ts');

/** Runs a supervisor that kills itself at `step`; false if it settled without coming so far. */
async function killedAt(home: TestHome, step: number, settledPhase: string): Promise<boolean> {
  const supervisor = spawn(
    process.execPath,
    ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning', child, home.path, String(step)],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const exited = once(supervisor, 'exit');
  let ended = false;
  void exited.then(() => (ended = true));
  await vi.waitUntil(
    async () => ended || ((await readSwitch(home.folder))?.phase === settledPhase && home.running().length === 1),
    { timeout: 15_000, interval: 10 },
  );
  if (!ended) {
    // Steps may follow the last phase, the cleaning up of versions last; it is asked to end when it had time for them.
    await vi.waitUntil(() => ended || readdirSync(home.folder.versions).length === 2, { timeout: 5_000, interval: 10 });
    supervisor.kill('SIGTERM');
  }
  const [, signal] = (await exited) as [number | null, string | null];
  return signal === 'SIGKILL';
}

/** Starts a supervisor after the cut, waits until the switch is decided and answers what then runs. */
async function afterTheCut(home: TestHome, behaviour: Behaviour): Promise<void> {
  const drain = new AbortController();
  const lines: string[] = [];
  const supervised = supervise(
    { home: home.path, args: [], timing: { restartMinMs: 1, restartMaxMs: 1, killAfterMs: 500, lookMs: 50 } },
    { say: (line) => lines.push(line), drain: drain.signal, cancel: new AbortController().signal },
  );
  const good = behaviour === 'good';
  try {
    await vi.waitUntil(
      async () =>
        (await readSwitch(home.folder))?.phase === (good ? 'healthy' : 'rolled-back') && home.running().length === 1,
      { timeout: 10_000, interval: 10 },
    );
    const current = (await currentVersion(home.folder))!;
    const version = good ? '2.0.0' : '1.0.0';
    expect(await readVersion(home.folder, current)).toMatchObject({ version });
    // One working version, and it is the current one.
    expect(home.running()).toEqual([version]);
  } catch (error) {
    throw new Error(`after the cut:\n${lines.join('\n')}`, { cause: error });
  } finally {
    drain.abort();
    await supervised;
  }
  expect(home.running()).toEqual([]);
}

describe('whatever step the power goes at, one version works afterwards', () => {
  test.each<[string, Behaviour, number]>([
    ['a switch to a good version', 'good', 1],
    // Up to the start of the new version both are the same.
    ['a switch to one that crashes at its start', 'crashes', 17],
  ])('%s', { timeout: 60_000 }, async (_, behaviour, firstStep) => {
    const cut = async (step: number): Promise<boolean> => {
      await using home = new TestHome();
      await home.first();
      await home.beside('0.9.0', 'good');
      await home.wish(await home.beside('2.0.0', behaviour));
      const wasKilled = await killedAt(home, step, behaviour === 'good' ? 'healthy' : 'rolled-back');
      await home.killAgents();
      await afterTheCut(home, behaviour);
      return wasKilled;
    };
    let steps = 0;
    for (let step = firstStep; ; step += 3) {
      const killed = await Promise.all([cut(step), cut(step + 1), cut(step + 2)]);
      steps += killed.filter(Boolean).length;
      if (killed.includes(false)) break;
    }
    // Fewer would mean that steps go by unseen.
    expect(steps).toBeGreaterThan(behaviour === 'good' ? 25 : 20);
  });
});
