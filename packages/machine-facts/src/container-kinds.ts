import type { SystemFiles } from './internal/read-text.ts';

/**
 * What kind of container this process runs in: `docker`, `podman`, `kubernetes`, `lxc`, `systemd-nspawn`, `wsl` or another
 * that systemd knows; several where one is inside the other, none on a machine of its own.
 */
export function containerKinds(files: SystemFiles, env: Readonly<Record<string, string | undefined>>): string[] {
  const kinds = new Set<string>();
  const named = (kind: string | undefined): void => {
    if (kind !== undefined && /^[a-z][a-z0-9-]{0,31}$/.test(kind))
      kinds.add(kind === 'container-other' ? 'other' : kind);
  };
  if (files.read('/.dockerenv') !== undefined) kinds.add('docker');
  if (files.read('/run/.containerenv') !== undefined) kinds.add('podman');
  const inPod = files.read('/var/run/secrets/kubernetes.io/serviceaccount/namespace') !== undefined;
  if (env['KUBERNETES_SERVICE_HOST'] !== undefined || inPod) kinds.add('kubernetes');
  // What systemd wrote at its start, and what a container's first process was told (https://systemd.io/CONTAINER_INTERFACE).
  named(files.read('/run/systemd/container'));
  named(
    files
      .read('/proc/1/environ')
      ?.split('\0')
      .find((entry) => entry.startsWith('container='))
      ?.slice('container='.length),
  );
  const groups = files.read('/proc/1/cgroup') ?? '';
  if (/\/kubepods[/.-]/.test(groups)) kinds.add('kubernetes');
  if (/\/docker[/-]/.test(groups)) kinds.add('docker');
  if (/\/lxc(\.payload)?[/.]/.test(groups)) kinds.add('lxc');
  return [...kinds].sort();
}
