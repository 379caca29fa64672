/** What the kernel is told. */
export interface GuestCommandLine {
  readonly diskBytes: number;
  readonly processesMax: number;
  /** Vsock port that the agent listens on. */
  readonly agentPort: number;
  /** Some drivers are modules. */
  readonly hasModules: boolean;
}

/**
 * The kernel's command line: what Firecracker itself would say (no console, no waiting for a keyboard that is not there, the end of
 * the kernel is the end of the machine), then what the agent reads.
 */
export function guestCommandLine({ diskBytes, processesMax, agentPort, hasModules }: GuestCommandLine): string {
  return [
    ...['quiet', 'loglevel=1', 'reboot=k', 'panic=-1', ...(hasModules ? [] : ['nomodule'])],
    ...['8250.nr_uarts=0', 'i8042.noaux', 'i8042.nomux', 'i8042.dumbkbd', 'swiotlb=noforce', 'random.trust_cpu=on'],
    ...['drover.root=/dev/vda', `drover.disk=${diskBytes}`, `drover.processes=${processesMax}`],
    `drover.transport=vsock:${agentPort}`,
  ].join(' ');
}
