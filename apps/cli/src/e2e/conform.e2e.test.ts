import { AgentTaskState } from '@drover/control-api';
import { Client } from 'pg';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';

const agents = (fleet: TestFleet, server: ServerProcess, ...args: string[]) =>
  fleet.drover('agents', ...args, '--server', server.url);
const workspaces = (fleet: TestFleet, server: ServerProcess, ...args: string[]) =>
  fleet.drover('workspaces', ...args, '--server', server.url);

function git(dir: string, ...args: string[]): string {
  const names = ['-c', 'user.name=a', '-c', 'user.email=a@b', '-c', 'init.defaultBranch=main'];
  return execFileSync('git', ['-C', dir, ...names, ...args], { encoding: 'utf8' }).trim();
}

function commit(dir: string, file: string, content: string): void {
  writeFileSync(join(dir, file), content);
  git(dir, 'add', '--all');
  git(dir, 'commit', '--quiet', '--message', 'a change');
}

async function taskOf(server: ServerProcess, agentId: string) {
  const { tasks } = await server.client.agentTasks.listAgentTasks({ source: 'conform', agentId });
  return tasks[0];
}

const conformed = (server: ServerProcess, agentId: string) =>
  until(async () =>
    expect(await taskOf(server, agentId)).toMatchObject({ state: AgentTaskState.ENDED, last: { succeeded: true } }),
  );

/** How many leases were under way when each of them began, itself included. */
async function atOnce(databaseUrl: string): Promise<number[]> {
  const database = new Client(databaseUrl);
  await database.connect();
  try {
    const { rows } = await database.query<{ count: string }>(`
    select (select count(*) from drover.lease_history other
             where other.assigned_at <= one.assigned_at and other.ended_at > one.assigned_at) as count
      from drover.lease_history one`);
    return rows.map(({ count }) => Number(count));
  } finally {
    await database.end();
  }
}

test('agents conform: a set that changes, within the cap; asked for; a broken remote; killed half-way', async () => {
  await using fleet = await TestFleet.create();
  const source = fleet.path('source');
  mkdirSync(source);
  git(source, 'init', '--quiet');
  commit(source, 'file', '1');
  const config = fleet.path('server.toml');
  writeFileSync(
    config,
    '[lease_type."@drover/lease-type-conform"]\nat_once = 1\nbackoff = ["200ms", "1h"]\npoll = "500ms"\n',
  );
  const server = await fleet.server({ flags: ['--config', config] });
  // git as it is, but a fetch of agent b can be held.
  mkdirSync(fleet.path('bin'));
  const realGit = execFileSync('which', ['git'], { encoding: 'utf8' }).trim();
  const wrapper = `case "$*" in *" fetch "*) if [ -e ${fleet.path('hold')} ]; then touch ${fleet.path('held')}; ${fleet.waitFor('go')}; fi;; esac`;
  writeFileSync(join(fleet.path('bin'), 'git'), `#!/bin/sh\n${wrapper}\nexec ${realGit} "$@"\n`, { mode: 0o755 });
  const b = {
    id: 'b',
    flags: ['--agent-pools=other'],
    env: { PATH: `${fleet.path('bin')}:${process.env['PATH'] ?? ''}` },
  };
  const [, agentB] = await Promise.all([fleet.agent(server, { id: 'a' }), fleet.agent(server, b)]);
  const at = (agent: string, ...names: string[]) => join(fleet.path(agent), 'workspaces', ...names);
  const read = (agent: string, ...names: string[]) => readFileSync(at(agent, ...names), 'utf8');

  // The set changes: both conform by themselves, one after the other.
  const set = await workspaces(fleet, server, 'set', 'engine', pathToFileURL(source).href, '--folder', 'engine/main');
  expect(set, set.stderr).toMatchObject({ code: 0 });
  await Promise.all([conformed(server, 'a'), conformed(server, 'b')]);
  expect([read('a', 'engine/main/file'), read('b', 'engine/main/file')]).toEqual(['1', '1']);
  expect(await atOnce(fleet.databaseUrl)).toEqual([1, 1]);

  // Asked for.
  commit(source, 'file', '2');
  writeFileSync(at('a', 'engine/main/file'), 'dirty');
  writeFileSync(at('a', 'engine/main/litter'), 'mine');
  const [asked, wrong, unknown, listed] = await Promise.all([
    agents(fleet, server, 'conform', 'a', '--clean', '--wait'),
    agents(fleet, server, 'conform', 'a', '--all'),
    workspaces(fleet, server, 'set', 'bad', 'ext::sh -c x'),
    workspaces(fleet, server, 'list'),
  ]);
  expect(asked, asked.stderr).toMatchObject({ code: 0 });
  const ids = git(source, 'log', '--format=%h', '--abbrev=12', '--reverse').split('\n');
  expect(asked.stdout).toBe(`a  done\n  engine  ${ids[0]} → ${ids[1]}: 1 changed, 1 put back, 1 untracked removed\n`);
  expect([read('a', 'engine/main/file'), existsSync(at('a', 'engine/main/litter'))]).toEqual(['2', false]);
  expect([wrong.code, unknown.code, unknown.stderr]).toEqual([2, 3, expect.stringContaining('WORKSPACE_INVALID')]);
  expect(listed.stdout).toMatch(/engine +file:.*engine\/main +every agent/);

  // A job of the agent finds it there.
  const job = fleet.jobFile('reads', {
    requires: { pool: 'other' },
    steps: { copy: `cat $DROVER_WORKSPACES/engine/main/file > ${fleet.path('copied')}` },
  });
  await fleet.submit(server, job);
  await until(() => expect(readFileSync(fleet.path('copied'), 'utf8')).toBe('1'));

  // A broken remote is told, and backs off until it is back; the other workspace is synced all the same.
  const other = fleet.path('another');
  mkdirSync(other);
  git(other, 'init', '--quiet');
  commit(other, 'file', 'another');
  renameSync(source, fleet.path('moved'));
  await workspaces(fleet, server, 'set', 'second', pathToFileURL(other).href, '--pool', 'other');
  await until(async () => expect(await taskOf(server, 'b')).toMatchObject({ failures: 2 }));
  expect(read('b', 'second/file')).toBe('another');
  const failed = await agents(fleet, server, 'conform', 'b', '--wait');
  expect(failed.code).toBe(1);
  expect(failed.stdout).toMatch(/^b {2}failed: 1 of 2 workspaces .* \(CONFORM_INCOMPLETE\); it is tried again/);
  expect(failed.stdout).toMatch(/\n {2}engine {2}failed: .* \(GIT_REPOSITORY_NOT_FOUND\)\n {2}second {2}at /);
  const [reports, json, bare] = await Promise.all([
    agents(fleet, server, 'tasks', '--source', 'conform', '--agent', 'b', '--all', '--reports'),
    agents(fleet, server, 'tasks', '--source', 'conform', '--agent', 'b', '--all', '--reports', '--json'),
    agents(fleet, server, 'tasks', '--source', 'conform', '--agent', 'b', '--all', '--json'),
  ]);
  expect(reports.stdout).toMatch(/\n\nb\n {2}engine {2}failed: /);
  const outputOf = ({ stdout }: { readonly stdout: string }) =>
    (JSON.parse(stdout) as { tasks: { last: { output?: unknown } }[] }).tasks[0]!.last.output;
  expect(outputOf(json)).toMatchObject({ workspaces: [{ name: 'engine' }, { name: 'second', filesAdded: '0' }] });
  expect(outputOf(bare)).toBeUndefined();
  renameSync(fleet.path('moved'), source);
  const again = await agents(fleet, server, 'conform', 'b', '--wait');
  expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(/^b {2}done\n {2}engine {2}/) as string });
  expect(read('b', 'engine/main/file')).toBe('2');

  // Killed in the midst of a fetch, whose git goes on: the next process of the agent ends it, and the workspace is whole.
  commit(source, 'file', '3');
  writeFileSync(fleet.path('hold'), '');
  const waited = agents(fleet, server, 'conform', 'b', '--wait');
  await fleet.made('held');
  await agentB.process.kill();
  writeFileSync(at('b', 'engine/main/.git/index.lock'), '');
  rmSync(fleet.path('hold'));
  await fleet.agent(server, b);
  const ended = await waited;
  expect(ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^b {2}done\n {2}engine {2}/) as string });
  expect(read('b', 'engine/main/file')).toBe('3');
  expect(git(at('b', 'engine/main'), 'status', '--porcelain')).toBe('');
  expect(existsSync(fleet.path('go'))).toBe(false);
});
