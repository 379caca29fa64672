import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { ServiceDescription } from './service-description.ts';
import { unitText, type SystemdScope } from './systemd-unit.ts';

const service: ServiceDescription = {
  name: 'drover-agent',
  title: 'Drover agent 100%',
  version: '1.0.0',
  command: [process.execPath, '/opt/a b/$x %y.mjs', ''],
  environment: { A: 'b c "d" %e' },
  environmentFile: '/etc/drover/a%b.env',
  writableFolders: ['/srv/work spaces', '/srv/100%'],
  readsHomes: false,
  stopWithinMs: 900_500,
  reloads: true,
  finalExitCodes: [2, 3, 5, 7, 8],
  cleanExitCodes: [130, 143],
};

const text = (scope: SystemdScope, changed: Partial<ServiceDescription> = {}): string =>
  unitText({ ...service, ...changed }, { scope, user: 'drover' });

test('a unit lets work end, and comes back by itself but for what a start would not mend', () => {
  const lines = text('system').split('\n');
  for (const line of [
    'Type=notify',
    'KillMode=mixed',
    'TimeoutStopSec=901s',
    'Restart=on-failure',
    'RestartPreventExitStatus=2 3 5 7 8',
    'SuccessExitStatus=130 143',
    'StartLimitIntervalSec=0',
    'Delegate=yes',
    'OOMPolicy=continue',
  ]) {
    expect(lines).toContain(line);
  }
});

test('it writes its own folders alone, and those that the configuration names', () => {
  expect(text('system')).toMatch(
    /^ProtectSystem=strict\nProtectHome=yes\nReadWritePaths="-\/srv\/work spaces"\nReadWritePaths=-\/srv\/100%%$/m,
  );
  expect(text('system', { readsHomes: true })).toContain('\nProtectHome=read-only\n');
});

test('devices stay open to who may use them, and programs to be made writable and run', () => {
  for (const setting of ['PrivateDevices', 'ProtectClock', 'DeviceAllow', 'DevicePolicy', 'MemoryDenyWriteExecute']) {
    expect(text('system')).not.toMatch(new RegExp(`^${setting}=`, 'm'));
  }
});

test('a unit of a user asks nothing of its manager that only root can do', () => {
  expect(text('user')).toContain('\nWantedBy=default.target\n');
  expect(text('user')).not.toMatch(/^(?:User|StateDirectory|ProtectSystem|CapabilityBoundingSet|After)=/m);
});

const hasAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0;

test.skipIf(!hasAnalyze)('systemd finds nothing wrong with it, and little exposed [limits:systemd]', () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-unit-'));
  try {
    const path = join(dir, 'drover-agent.service');
    writeFileSync(path, text('system'));
    // What it says of a setting that it does not know goes to standard error, with success.
    const verified = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' });
    expect(verified).toMatchObject({ status: 0, stderr: '' });
    // 10 is a service without any of it. It fails above the threshold, which is ten times the level.
    execFileSync('systemd-analyze', ['security', '--offline=true', '--threshold=40', '--no-pager', path]);
    writeFileSync(path, text('user'));
    const env = { ...process.env, XDG_RUNTIME_DIR: dir };
    expect(spawnSync('systemd-analyze', ['--user', 'verify', '--man=no', path], { encoding: 'utf8', env }).stderr).toBe(
      '',
    );
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
