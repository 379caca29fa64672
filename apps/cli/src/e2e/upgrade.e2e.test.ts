import { buildBundle, generateSigningKey, readBundleStatement, signBundle, unpackBundle } from '@drover/agent-bundles';
import { installFirstVersion } from '@drover/agent-supervisor';
import { RolloutAgentState, RolloutState } from '@drover/control-api';
import { chmodSync, createReadStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { EndedProcess } from './drover-process.fixture.ts';
import { jobEnded, TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';

const main = join(import.meta.dirname, '../main.ts');
const supervisor = join(import.meta.dirname, '../../../supervisor/src/main.ts');
const ours = generateSigningKey();
const theirs = generateSigningKey();
const agentIds = ['machine-1', 'machine-2'];

/** A real agent, or what a bad build does instead, as a signed bundle; answers the archive. */
async function bundle(fleet: TestFleet, version: string, line: string, key = ours): Promise<string> {
  const folder = fleet.path(`build-${version}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'run'), `#!/bin/sh\n${line}\n`);
  chmodSync(join(folder, 'run'), 0o755);
  const output = fleet.path(`agent-${version}.tar.gz`);
  const { digest } = await buildBundle({ folder, version, platform: 'any', entry: 'run', output });
  writeFileSync(`${output}.sig.json`, signBundle({ version, platform: 'any', digest }, key.privateKeyPem));
  return output;
}

const agentLine = `exec ${process.execPath} --conditions=@drover/source --disable-warning=ExperimentalWarning ${main} "$@"`;
/** A real agent that is sent to a port where nobody listens. */
const lostLine = `set -- $(printf '%s\\n' "$@" | sed 's#^http://127.0.0.1:.*#http://127.0.0.1:9#')\n${agentLine}`;

/** Machines under supervisors, with a first version. */
async function machines(fleet: TestFleet, server: ServerProcess): Promise<void> {
  const archive = await bundle(fleet, '1.0.0', agentLine);
  const { digest } = readBundleStatement(readFileSync(`${archive}.sig.json`, 'utf8'));
  for (const agentId of agentIds) {
    const home = fleet.path(`home-${agentId}`);
    await installFirstVersion(home, { version: '1.0.0', bundle: digest.hash }, async (folder) => {
      const { entry } = await unpackBundle(createReadStream(archive), { folder });
      return { entry };
    });
    const agent = ['agent', '--server-urls', server.url, '--agent-id', agentId, '--upgrade-keys', ours.publicKey];
    fleet.start(['--home', home, '--', ...agent, '--state-dir', fleet.path(agentId), '--resources-cores=4'], {
      entry: supervisor,
    });
  }
  await until(async () => expect(await versions(server)).toEqual(['1.0.0', '1.0.0']));
}

/** Versions of the agents that are online. */
async function versions(server: ServerProcess): Promise<string[]> {
  const { agents } = await server.client.fleet.listAgents({});
  return agents.filter(({ online }) => online).map(({ description }) => description!.version);
}

function roll(fleet: TestFleet, server: ServerProcess, archive: string, ...more: string[]): Promise<EndedProcess> {
  return fleet.drover(
    ...['agents', 'upgrade', '--server', server.url, '--channel', 'stable', '--wait', '--bundle', archive, ...more],
  );
}

test('a fleet is upgraded in rings; bad builds stop at the first one and the machines go on with what they had', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  await machines(fleet, server);

  // Each is tried on one machine alone, which is back with its version afterwards; the other one never hears of it.
  const wrongs: [archive: string, code: string][] = [
    [await bundle(fleet, '1.1.0', agentLine, theirs), 'BUNDLE_KEY_UNKNOWN'],
    [await bundle(fleet, '1.2.0', 'exit 3'), 'VERSION_ENDED_AT_START'],
    [await bundle(fleet, '1.3.0', lostLine), 'VERSION_NOT_HEALTHY_IN_TIME'],
  ];
  for (const [archive, code] of wrongs) {
    const ended = await roll(fleet, server, archive, '--healthy-within', '4s', '--rings', '1%,100%');
    expect(ended, ended.stdout + ended.stderr).toMatchObject({ code: 1 });
    expect(ended.stdout).toContain(code);
    expect(await versions(server)).toEqual(['1.0.0', '1.0.0']);
    const { rollouts } = await server.client.upgrades.listRollouts({});
    expect(rollouts).toMatchObject([{ channel: 'stable', state: RolloutState.HALTED, ring: 1, reasonCode: code }]);
    const { agents } = await server.client.upgrades.listRolloutAgents({ channel: 'stable' });
    expect(agents.map(({ state }) => state).sort()).toEqual([RolloutAgentState.WAITING, RolloutAgentState.FAILED]);
  }

  // Work that runs is waited for.
  const jobFile = fleet.jobFile('work', { steps: { s: `${fleet.waitFor('gate')}; echo done` } });
  const jobs = [await fleet.submit(server, jobFile), await fleet.submit(server, jobFile)];
  const good = roll(fleet, server, await bundle(fleet, '2.0.0', agentLine), '--rings', '1%,100%');
  await until(async () => {
    const { rollouts } = await server.client.upgrades.listRollouts({});
    expect(rollouts[0]?.version).toBe('2.0.0');
  });
  fleet.open('gate');
  const ended = await good;
  expect(ended, ended.stdout + ended.stderr).toMatchObject({ code: 0 });
  expect(await versions(server)).toEqual(['2.0.0', '2.0.0']);
  for (const job of jobs) expect((await jobEnded(server, job)).leases[0]!.attempts).toHaveLength(1);
});
