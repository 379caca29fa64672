export {
  createUnsafeHostDriver,
  unsafeHostDriverName,
  type UnsafeHostDriverDeps,
  type UnsafeHostDriverOptions,
} from './unsafe-host-driver.ts';
