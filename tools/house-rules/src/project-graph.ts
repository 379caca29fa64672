/**
 * Makes the project graph of the workspace that `@nx/enforce-module-boundaries` reads from .nx; without it the rule says
 * nothing at all. No daemon and no plugin process is left behind.
 */
export async function writeProjectGraph(): Promise<void> {
  process.env['NX_DAEMON'] = 'false';
  process.env['NX_ISOLATE_PLUGINS'] = 'false';
  const { createProjectGraphAsync } = await import('@nx/devkit');
  await createProjectGraphAsync({ exitOnError: false, resetDaemonClient: true });
}
