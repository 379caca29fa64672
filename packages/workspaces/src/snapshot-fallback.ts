import { access, stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { WorkspaceProvider } from './workspace-provider.ts';

/**
 * Sends a source that is a plain folder, with no repository in it, to `snapshot`, and everything else to `provider`: what
 * works in a checkout then works in an unpacked archive of it too. The kind is that of `provider`.
 */
export function withSnapshotFallback(provider: WorkspaceProvider, snapshot: WorkspaceProvider): WorkspaceProvider {
  return {
    kind: provider.kind,
    async materialize(request, signal) {
      const plain = isAbsolute(request.source) && (await isPlainFolder(request.source));
      return (plain ? snapshot : provider).materialize(request, signal);
    },
  };
}

async function isPlainFolder(path: string): Promise<boolean> {
  const has = (name: string) =>
    access(join(path, name)).then(
      () => true,
      () => false,
    );
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true || (await has('.git'))) return false;
  return !((await has('HEAD')) && (await has('objects')) && (await has('refs')));
}
