import { DroverError, messageOf, type Logger } from '@drover/lease-kit';
import type { DroverStore } from '@drover/lease-store';
import { createPostgresStore, migrate } from '@drover/lease-store-postgres';
import { startEmbeddedPostgres, type EmbeddedPostgres } from '@drover/postgres-embedded';
import { join } from 'node:path';
import pg from 'pg';
import type { ServerConfig } from './server-config.ts';

/** The store of a server, with the database server behind it if that is ours. */
export interface OpenStore extends AsyncDisposable {
  readonly store: DroverStore;
  readonly embedded: EmbeddedPostgres | undefined;
}

/** Opens the configured Postgres, or starts the embedded one, and brings its schema up to date. */
export async function openStore(config: ServerConfig, logger: Logger, signal: AbortSignal): Promise<OpenStore> {
  const url = config.postgres.url;
  const embedded =
    url === undefined
      ? await startEmbeddedPostgres({ dataDir: join(config.state.dir, 'postgres'), logger, signal })
      : undefined;
  const pool = new pg.Pool({
    connectionString: url ?? embedded?.url,
    max: config.postgres.connections,
    connectionTimeoutMillis: 5_000,
    application_name: 'drover-server',
  });
  try {
    const applied = await migrate(pool);
    logger.info({ postgres: embedded ? 'embedded' : 'external', migrations: applied }, 'the database is ready');
    const store = createPostgresStore({ pool, logger });
    return {
      store,
      embedded,
      async [Symbol.asyncDispose]() {
        await store.close();
        await pool.end();
        await embedded?.stop();
      },
    };
  } catch (error) {
    await pool.end();
    await embedded?.stop();
    if (error instanceof DroverError) throw error;
    throw new DroverError({
      code: 'STORE_UNAVAILABLE',
      advice: 'unavailable',
      message: `the database cannot be used: ${messageOf(error)}`,
      cause: error,
    });
  }
}
