import { existsSync } from 'node:fs';

/** What is done to a machine. */
export type PowerChange = 'restart' | 'shutdown';

/** Where a command is to work. */
export interface PowerPlatform {
  /** As `process.platform` has it. */
  readonly os: NodeJS.Platform;
  /** systemd runs the machine (sd_booted(3)). */
  readonly hasSystemd: boolean;
}

/** The platform of this process. */
export function thisPlatform(): PowerPlatform {
  return { os: process.platform, hasSystemd: existsSync('/run/systemd/system') };
}

/**
 * The platform's own command: systemctl(1) where systemd runs, shutdown(8) on other Unixes, shutdown.exe on Windows, where it
 * closes applications without asking. The agent's user must be allowed to run it.
 */
export function platformPowerCommand(change: PowerChange, { os, hasSystemd }: PowerPlatform): readonly string[] {
  if (os === 'win32') return ['shutdown.exe', change === 'restart' ? '/r' : '/s', '/f', '/t', '0'];
  if (hasSystemd) return ['systemctl', change === 'restart' ? 'reboot' : 'poweroff'];
  if (os === 'linux') return ['shutdown', change === 'restart' ? '-r' : '-P', 'now'];
  // BSD and macOS: -h halts, and switches off where the hardware can (macOS), -p is FreeBSD's.
  return ['shutdown', change === 'restart' ? '-r' : os === 'freebsd' ? '-p' : '-h', 'now'];
}
