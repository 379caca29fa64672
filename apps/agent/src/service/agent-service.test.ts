import { loadAppConfig } from '@drover/app-config';
import { expect, test } from 'vitest';
import { agentConfig } from '../agent-config.ts';
import { agentService, givenFlags, type AgentServiceOptions, type ServiceScope } from './agent-service.ts';
import { nextLines } from './service-text.ts';

function described(flags: Record<string, string>, more: Partial<AgentServiceOptions> & { scope?: ServiceScope } = {}) {
  return agentService({
    name: 'drover-agent',
    scope: 'system',
    agent: ['/opt/node', '/opt/agent.mjs'],
    flags: ['--config', '/etc/drover/agent.toml'],
    config: loadAppConfig(agentConfig, { env: {}, cwd: '/', flags }),
    configFile: '/etc/drover/agent.toml',
    ...more,
  });
}

test('a service keeps its state in its own folder, and lets a machine go down within a quarter of an hour', () => {
  const { description, folders } = described({});
  expect(folders).toEqual([]);
  expect(description).toMatchObject({
    command: ['/opt/node', '/opt/agent.mjs', '--config', '/etc/drover/agent.toml'],
    environment: { DROVER_AGENT_STATE_DIR: '/var/lib/drover-agent/agent', DROVER_AGENT_STOP_GRACE: '15min' },
    environmentFile: '/etc/drover/drover-agent.env',
    stopWithinMs: 17 * 60_000,
    readsHomes: false,
    writableFolders: [],
  });
});

test('what the configuration says counts: how long a stop may take, and where it writes', () => {
  const { description } = described({
    'stop.grace': '1h',
    'state.dir': '/srv/agent',
    'workspaces.root': 'workspaces',
    'log.file': '/var/log/drover-agent/agent.log',
  });
  expect(description.environment).toEqual({});
  expect(description.stopWithinMs).toBe(62 * 60_000);
  expect(description.writableFolders).toEqual(['/srv/agent']);
});

test.each([
  [{ 'state.dir': '/home/build/agent' }, {}, true],
  [{ 'server.tls_ca': '/root/ca.pem' }, {}, true],
  [{}, { configFile: '/home/build/agent.toml' }, true],
  [{}, { agent: ['/home/build/node', 'x'] }, true],
  [{ 'state.dir': '/homes/agent' }, {}, false],
])('%j %j: it may look into homes: %s', (flags, more, readsHomes) => {
  expect(described(flags, more).description.readsHomes).toBe(readsHomes);
});

test.each([
  ['bin/drover-agent', []],
  ['bin/agent', ['agent']],
  ['drover.mjs', ['agent']],
])('a supervisor starts %s with %j first, and its folder is writable', (entry, word) => {
  const home = '/var/lib/drover-agent/supervisor';
  const { description, folders } = described({}, { supervisor: { program: '/opt/sup', home, entry } });
  expect(description.command).toEqual([
    ...['/opt/sup', '--home', home, '--', ...word],
    ...['--config', '/etc/drover/agent.toml'],
  ]);
  // It was root who put the first version there.
  expect(folders).toEqual([home]);
  expect(description.writableFolders).toEqual([]);
  expect(description.reloads).toBe(false);
});

test('flags are given again as they were, but for secrets', () => {
  expect(
    givenFlags(agentConfig, {
      config: 'x',
      serverUrls: ['http://a', 'http://b'],
      serverPlaintext: true,
      stopGrace: '1h',
    }),
  ).toEqual(['--server-urls=http://a', '--server-urls=http://b', '--server-plaintext=true', '--stop-grace=1h']);
  expect(() => givenFlags(agentConfig, { serverToken: 'abc' })).toThrow(
    expect.objectContaining({ code: 'FLAG_SECRET', message: expect.not.stringContaining('abc') as string }),
  );
});

test('the ports of the herd are named, and no server is missed there', () => {
  expect(described({})).toMatchObject({ ports: [], callsThisMachine: true });
  const herd = described({ 'herd.enabled': 'true' });
  expect(herd.callsThisMachine).toBe(false);
  expect(nextLines(herd, { scope: 'system', restartNeeded: false })).toEqual([
    'secrets such as DROVER_AGENT_SERVER_ENROLMENT_TOKEN=… go into /etc/drover/drover-agent.env, mode 600',
    'let the herd in, if there is a firewall: TCP port 7614',
    'let the herd in, if there is a firewall: UDP port 7614',
    'look at it: drover agent service status',
  ]);
  expect(nextLines(herd, { scope: 'windows', restartNeeded: true }).join('\n')).toMatch(
    /^it goes on as it was until it is restarted: drover-agent\.exe restart.*\n(?:.*\n)*.*netsh .*protocol=UDP localport=7614$/m,
  );
});
