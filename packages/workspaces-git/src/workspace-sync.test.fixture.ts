// Syncs one workspace, for tests that kill the process in its midst: the request is the first argument.
import { createGitWorkspaceSync } from './git-workspace-sync.ts';

const request = JSON.parse(process.argv[2] ?? '{}') as Parameters<ReturnType<typeof createGitWorkspaceSync>['sync']>[0];
const sync = createGitWorkspaceSync({ transports: ['http', 'file'] });
await sync.sync(request, {
  signal: new AbortController().signal,
  progress: (percent) => process.stdout.write(`${percent}\n`),
});
