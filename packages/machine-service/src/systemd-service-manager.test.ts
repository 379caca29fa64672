import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceDescription } from './service-description.ts';
import type { InstallOptions, ServiceManager } from './service-manager.ts';
import { createSystemdServiceManager } from './systemd-service-manager.ts';
import { createFakeSystemd, type FakeSystemd } from './testing/index.ts';

const usual: InstallOptions = { force: false, start: true };
const service: ServiceDescription = {
  name: 'drover-agent',
  title: 'Drover agent',
  version: '1.0.0',
  command: ['/usr/bin/node', '/opt/a b/agent.mjs', '--config', '/etc/drover/agent.toml'],
  environment: { DROVER_AGENT_STATE_DIR: '/var/lib/drover-agent/a b' },
  writableFolders: [],
  readsHomes: false,
  stopWithinMs: 60_000,
  reloads: true,
  finalExitCodes: [5, 7],
  cleanExitCodes: [143],
};

let dir: string;
let systemd: FakeSystemd;
let unit: string;
const signal = new AbortController().signal;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-service-'));
  systemd = createFakeSystemd(join(dir, 'fake'), { scope: 'system', unitFolder: join(dir, 'units') });
  unit = join(dir, 'units/drover-agent.service');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function manager(uid = 0): ServiceManager {
  const options = { scope: 'system', unitFolder: join(dir, 'units'), sysusersFolder: join(dir, 'sysusers') } as const;
  return createSystemdServiceManager(options, { uid, run: systemd.run });
}

test('a service is installed, changed, looked at and removed; each step only once', async () => {
  const first = await manager().install(service, usual, signal);
  expect(first).toEqual({
    done: [
      `made the user drover (${join(dir, 'sysusers/drover-agent.conf')})`,
      `wrote ${unit}`,
      'told systemd to read its units again',
      'enabled drover-agent.service: it starts with the machine',
      'started drover-agent.service',
    ],
    restartNeeded: false,
  });
  expect(await manager().install(service, usual, signal)).toEqual({ done: [], restartNeeded: false });
  expect(await manager().status('drover-agent', signal)).toEqual({
    name: 'drover-agent',
    state: 'active',
    detail: 'running',
    enabled: true,
    ours: true,
    files: [unit],
    command: service.command,
    environment: service.environment,
    pid: 4711,
    sinceMs: Date.UTC(2026, 10, 22, 8, 40),
    says: '1.0.0, with a session',
    restarts: 0,
    lines: ['the agent is running'],
  });

  // Work that runs is not ended by an installation.
  const changed = await manager().install({ ...service, version: '1.1.0', reloads: false }, usual, signal);
  expect(changed).toEqual({
    done: [`changed ${unit}`, 'told systemd to read its units again'],
    restartNeeded: true,
  });
  expect(systemd.read().units['drover-agent.service']).toMatchObject({ starts: 1, text: readFileSync(unit, 'utf8') });

  expect((await manager().uninstall('drover-agent', signal)).done).toEqual([
    'stopped drover-agent.service',
    `disabled it and removed ${unit}`,
  ]);
  expect(existsSync(unit)).toBe(false);
  expect(systemd.read().units).toEqual({});
  for (const ask of ['status', 'uninstall', 'start'] as const) {
    await expect(manager()[ask]('drover-agent', signal)).rejects.toMatchObject({ code: 'SERVICE_MISSING' });
  }
});

describe('what is not ours', () => {
  const mine = '[Service]\nExecStart=/usr/bin/true\n[Install]\nWantedBy=multi-user.target\n';

  test.each([
    ['a unit of the operator', () => writeFileSync(unit, mine)],
    ['a masked unit', () => symlinkSync('/dev/null', unit)],
    [
      'a link to a unit that another program keeps',
      () => {
        writeFileSync(join(dir, 'theirs.service'), mine);
        symlinkSync(join(dir, 'theirs.service'), unit);
      },
    ],
    [
      'a unit of a package',
      () =>
        systemd.change({
          units: { 'drover-agent.service': { text: mine, path: '/lib/systemd/x', active: 'inactive', starts: 0 } },
        }),
    ],
  ])('%s is left alone', async (_, make) => {
    mkdirSync(join(dir, 'units'));
    make();
    const before = systemd.read().units;
    await expect(manager().install(service, { force: true, start: true }, signal)).rejects.toMatchObject({
      code: 'SERVICE_NOT_OURS',
    });
    expect(systemd.read().units).toEqual(before);
  });

  test('a change by hand is written over only by force', async () => {
    await manager().install(service, usual, signal);
    writeFileSync(unit, readFileSync(unit, 'utf8').replace('WatchdogSec=2min', 'WatchdogSec=9min'));
    const again = (force: boolean) => manager().install(service, { force, start: true }, signal);
    await expect(again(false)).rejects.toMatchObject({ code: 'SERVICE_CHANGED' });
    expect(readFileSync(unit, 'utf8')).toContain('WatchdogSec=9min');
    await again(true);
    expect(readFileSync(unit, 'utf8')).toContain('WatchdogSec=2min');
  });
});

test('a service that does not start says what its log says', async () => {
  systemd.change({ failure: ['drover-agent: agent.toml:3: agnet is not known'] });
  await expect(manager().install(service, usual, signal)).rejects.toMatchObject({
    code: 'SERVICE_NOT_STARTED',
    message: expect.stringMatching(/^it is installed and does not start: .*\n {2}drover-agent: agent.toml:3/) as string,
  });
  expect(await manager().status('drover-agent', signal)).toMatchObject({
    state: 'failed',
    detail: 'failed, exit-code',
    exitCode: 3,
  });
});

test.each([
  ['without rights', 1_000, {}, 'SERVICE_DENIED', /sudo, or --user/],
  ['without systemd', 0, { running: 'offline' }, 'SERVICE_MANAGER_MISSING', /systemd does not manage this machine/],
])('%s nothing is written', async (_, uid, changed, code, message) => {
  systemd.change(changed);
  await expect(manager(uid).install(service, usual, signal)).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message) as string,
  });
  expect(existsSync(unit)).toBe(false);
});

test.each(['', '-a', 'A', 'a b', '../x', 'a.service', 'x'.repeat(64)])('%j is no name of a service', async (name) => {
  await expect(manager().install({ ...service, name }, usual, signal)).rejects.toMatchObject({
    code: 'SERVICE_NAME_INVALID',
  });
});

test('text that no unit can hold is refused', () => {
  expect(() => manager().plan({ ...service, environment: { A: 'b\nExecStartPre=/bin/x' } })).toThrow(
    expect.objectContaining({ code: 'SERVICE_INVALID' }),
  );
});
