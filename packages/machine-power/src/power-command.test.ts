import { expect, test } from 'vitest';
import { platformPowerCommand, thisPlatform } from './power-command.ts';

test.each([
  ['linux', true, 'restart', 'systemctl reboot'],
  ['linux', true, 'shutdown', 'systemctl poweroff'],
  ['linux', false, 'restart', 'shutdown -r now'],
  ['linux', false, 'shutdown', 'shutdown -P now'],
  ['darwin', false, 'restart', 'shutdown -r now'],
  ['darwin', false, 'shutdown', 'shutdown -h now'],
  ['freebsd', false, 'shutdown', 'shutdown -p now'],
  ['win32', false, 'restart', 'shutdown.exe /r /f /t 0'],
  ['win32', false, 'shutdown', 'shutdown.exe /s /f /t 0'],
] as const)('on %s (systemd: %s) a %s is %s', (os, hasSystemd, change, command) => {
  expect(platformPowerCommand(change, { os, hasSystemd }).join(' ')).toBe(command);
});

test('the platform is the one of this process', () => {
  expect(thisPlatform().os).toBe(process.platform);
});
