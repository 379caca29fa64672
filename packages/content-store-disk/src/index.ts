export {
  createDiskContentStore,
  type DiskContentStoreDeps,
  type DiskContentStoreOptions,
} from './disk-content-store.ts';
