import type { SandboxSpec } from '@drover/vm-runtime';

/** What a sandbox is made of. */
export interface BubblewrapParts {
  readonly spec: SandboxSpec;
  /** The image's root. */
  readonly folder: string;
  /** The agent's program on the host. */
  readonly agent: string;
  /** Where bubblewrap reads the system call filter from; absent: no filter. */
  readonly filterFd: number | undefined;
}

/** The share of a sandbox's disk that `/tmp` has; the rest is the work folder's. */
const tmpShare = 0.25;

/** The command line of bwrap(1): all namespaces are its own, no rights, an image that nobody can write, two folders in memory. */
export function bubblewrapArguments({ spec, folder, agent, filterFd }: BubblewrapParts): string[] {
  const tmpBytes = Math.floor(spec.diskBytes * tmpShare);
  return [
    ...['--unshare-all', '--unshare-user', '--uid', '65534', '--gid', '65534', '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--new-session', '--as-pid-1', '--clearenv', '--hostname', 'sandbox'],
    ...(filterFd === undefined ? [] : ['--seccomp', String(filterFd)]),
    ...['--ro-bind', folder, '/', '--proc', '/proc', '--dev', '/dev'],
    ...['--size', '65536', '--tmpfs', '/run', '--ro-bind', agent, '/run/drover-agent'],
    ...[
      '--size',
      String(spec.diskBytes - tmpBytes),
      '--tmpfs',
      '/run/drover',
      '--size',
      String(tmpBytes),
      '--tmpfs',
      '/tmp',
    ],
    ...['--remount-ro', '/run', '--chdir', '/', '/run/drover-agent', 'fd:3'],
  ];
}
