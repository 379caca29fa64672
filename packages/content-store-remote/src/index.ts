export { type RemoteContentErrorCode } from './error-from-remote.ts';
export {
  createRemoteContentStore,
  type RemoteContentStoreDeps,
  type RemoteContentStoreOptions,
} from './remote-content-store.ts';
