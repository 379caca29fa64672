import { JobState } from '@drover/control-api';
import type { ServiceStatus } from '@drover/machine-service';
import { createFakeSystemd, type FakeSystemd } from '@drover/machine-service/testing';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { canManage, ManagedService } from './managed-service.fixture.ts';
import { TestFleet, jobEnded, logOf, until, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;
let systemd: FakeSystemd;
let unit: string;
let status: ServiceStatus;

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server();
  unit = fleet.path('config/systemd/user/drover-agent.service');
  systemd = createFakeSystemd(fleet.path('fake'), { scope: 'user', unitFolder: fleet.path('config/systemd/user') });
});
afterAll(() => fleet.dispose());

const service = (...args: readonly string[]) =>
  fleet.start(['agent', 'service', ...args], {
    env: {
      PATH: `${systemd.binFolder}${delimiter}${process.env['PATH'] ?? ''}`,
      XDG_CONFIG_HOME: fleet.path('config'),
      XDG_STATE_HOME: fleet.path('state'),
    },
  }).exited;

test('an agent is installed as a service of its user, looked at, and removed', async () => {
  const flags = ['--user', '--server-urls', server.url, '--stop-grace=30s', '--log-file', fleet.path('logs/agent.log')];
  const installed = await service('install', ...flags);
  expect(installed, installed.stderr).toMatchObject({ code: 0 });
  expect(installed.stdout).toContain(
    `wrote ${unit}\ntold systemd to read its units again\nenabled drover-agent.service: it starts with the user\n`,
  );
  expect(installed.stdout).toContain(`made ${fleet.path('logs')}\nstarted drover-agent\n`);
  const { stdout } = await service('status', '--user', '--json');
  status = JSON.parse(stdout) as ServiceStatus;
  expect(status).toMatchObject({
    state: 'active',
    environment: { DROVER_AGENT_STATE_DIR: fleet.path('state/drover-agent/agent') },
  });
});

test.skipIf(!canManage)(
  'a service drains within the time that its unit gives it, and loses no line of its log [limits:systemd]',
  async () => {
    const { command, environment } = status;
    await using managed = await ManagedService.start({
      unit: readFileSync(unit, 'utf8'),
      command,
      environment,
      socket: fleet.path('notify'),
      watchdogMs: 2_000,
    });
    await until(() => expect(managed.said).toContain('READY=1'));
    const steps = {
      s: `env | grep -c -E 'NOTIFY_SOCKET|WATCHDOG'; touch ${fleet.path('runs')}; ${fleet.waitFor('go')}`,
    };
    const jobId = await fleet.submit(server, fleet.jobFile('drained', { steps, retry: { attempts: 1 } }));
    await fleet.made('runs');
    await until(() => expect(managed.said).toContain('WATCHDOG=1'));
    const stopped = managed.stop();
    await until(() => expect(managed.said).toContain('STOPPING=1'));
    fleet.open('go');
    expect(await stopped).toEqual({ code: 0, signal: null, wasKilled: false });
    expect(await jobEnded(server, jobId)).toMatchObject({ state: JobState.SUCCEEDED });
    // What it runs is not told how to speak for it.
    expect(await logOf(server, jobId, 's', 1)).toMatch(/^0\n/);
    const lines = readFileSync(fleet.path('logs/agent.log'), 'utf8').trimEnd().split('\n');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ msg: 'the agent has ended', reason: 'drained' });
    expect(managed.said.findLast((text) => text.startsWith('STATUS='))).toMatch(/draining/);
  },
);

test('a service is removed, and what it has kept is named', async () => {
  const removed = await service('uninstall', '--user');
  expect(removed, removed.stderr).toMatchObject({ code: 0 });
  expect(removed.stdout).toContain(`kept: ${fleet.path('state/drover-agent/agent')}`);
  expect(existsSync(unit)).toBe(false);
});
