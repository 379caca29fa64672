export { createNamespaceDriver, type NamespaceDriverDeps, type NamespaceDriverOptions } from './namespace-driver.ts';
