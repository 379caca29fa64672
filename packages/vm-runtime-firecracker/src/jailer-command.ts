/** One jail. */
export interface JailSpec {
  /** Letters, digits and hyphens, at most 64. */
  readonly id: string;
  /** Firecracker's program, absolute, no link. */
  readonly firecracker: string;
  /** User and group that the machine is run as, above 0. */
  readonly uid: number;
  readonly jailsFolder: string;
  readonly cgroupVersion: 'v1' | 'v2';
  /** The group above the machine's. */
  readonly cgroupParent: string;
  /** Files of the machine's group and their content. */
  readonly cgroupSettings: readonly (readonly [file: string, content: string])[];
  /** The largest file that it may write: its log and its metrics, or the state of a machine. */
  readonly fileBytesMax: number;
  /** In the jail. */
  readonly apiSocket: string;
}

const openFilesMax = 1_024;

/** The jailer's command line: docs/jailer.md. A network namespace is not asked for, since a machine has no network card. */
export function jailerArguments(jail: JailSpec): string[] {
  const { id, firecracker, uid, jailsFolder, cgroupVersion, cgroupParent, cgroupSettings, fileBytesMax, apiSocket } =
    jail;
  return [
    ...['--id', id, '--exec-file', firecracker, '--uid', String(uid), '--gid', String(uid)],
    ...['--chroot-base-dir', jailsFolder, '--new-pid-ns'],
    ...['--cgroup-version', cgroupVersion.slice(1), '--parent-cgroup', cgroupParent],
    ...cgroupSettings.flatMap(([file, content]) => ['--cgroup', `${file}=${content}`]),
    ...['--resource-limit', `fsize=${fileBytesMax}`, '--resource-limit', `no-file=${openFilesMax}`],
    ...['--', '--api-sock', apiSocket],
  ];
}
