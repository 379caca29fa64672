import { readFileSync } from 'node:fs';

/** What the kernel is told. */
export interface GuestCommandLine {
  readonly diskBytes: number;
  readonly processesMax: number;
  /** Speed of the host's processor, without which a kernel under emulation may wait for ever to find it out. */
  readonly cpuKhz: number | undefined;
}

/** Name of the virtio-serial port that the agent listens on. */
export const agentPort = 'drover';

/** The kernel's command line. */
export function guestCommandLine({ diskBytes, processesMax, cpuKhz }: GuestCommandLine): string {
  return [
    ...['console=ttyS0', 'quiet', 'reboot=t', 'panic=-1', 'nokaslr', 'random.trust_cpu=on'],
    ...(cpuKhz === undefined ? [] : [`tsc_early_khz=${cpuKhz}`]),
    ...['drover.root=/dev/vda', `drover.disk=${diskBytes}`, `drover.processes=${processesMax}`],
    `drover.transport=serial:${agentPort}`,
  ].join(' ');
}

/** The processor's speed as /proc/cpuinfo has it; undefined where it does not say. */
export function hostCpuKhz(cpuinfo = readFileSync('/proc/cpuinfo', 'latin1')): number | undefined {
  const mhz = /^cpu MHz\s*:\s*([\d.]+)/m.exec(cpuinfo)?.[1];
  return mhz === undefined ? undefined : Math.round(Number(mhz) * 1_000);
}
