import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { poolOfTheDay } from './arrive.ts';
import type { FleetOfTheDay } from './fleet-of-the-day.ts';
import type { PhaseNotes } from './phase.ts';

const workspace = 'engine';
const file = 'engine.txt';

/** Gives the fleet a workspace, changes its source, and sees that every machine has the change after it has conformed. */
export async function conform(fleet: FleetOfTheDay, { note, mustBe }: PhaseNotes): Promise<void> {
  const source = join(fleet.dir, 'source');
  mkdirSync(source);
  const git = (...args: readonly string[]): string =>
    execFileSync('git', ['-c', 'user.name=day', '-c', 'user.email=day@localhost', ...args], {
      cwd: source,
      encoding: 'utf8',
    }).trim();
  const commit = (text: string): string => {
    writeFileSync(join(source, file), text);
    git('add', file);
    git('commit', '-q', '-m', text);
    return git('rev-parse', 'HEAD');
  };
  git('init', '-q', '-b', 'main');
  commit('first');
  await fleet.drover('workspaces', 'set', workspace, `file://${source}`, '--revision', 'main', '--pool', poolOfTheDay);
  const newest = commit('second');
  await fleet.drover('agents', 'conform', '--pool', poolOfTheDay, '--wait');
  const behind = [...fleet.machines.keys()].filter((id) => {
    const synced = join(fleet.dir, id, 'state', 'workspaces', workspace, file);
    return !existsSync(synced) || readFileSync(synced, 'utf8') !== 'second';
  });
  note(`${fleet.machines.size - behind.length} machines have ${workspace} at ${newest.slice(0, 12)}`);
  mustBe(behind.length === 0, `machines that have something else: ${behind.join(', ')}`);
}
