export {
  createGitWorkspaceProvider,
  type GitWorkspaceDeps,
  type GitWorkspaceOptions,
} from './git-workspace-provider.ts';
export {
  createGitWorkspaceSync,
  type GitWorkspaceSyncDeps,
  type GitWorkspaceSyncOptions,
} from './git-workspace-sync.ts';
export type { GitTransport } from './git-source.ts';
export { resolveCheckout, type CheckoutRequest, type ResolvedCheckout } from './resolve-checkout.ts';
