export { migrate, type MigrateOptions, type MigrateResult } from './migrate.ts';
export type { PostgresConnection, PostgresPool, PostgresQuery } from './postgres-pool.ts';
export { createPostgresStore, type PostgresStoreDeps, type PostgresStoreOptions } from './postgres-store.ts';
