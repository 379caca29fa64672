import { silentLogger, systemClock, type Logger } from '@drover/lease-kit';
import { Database } from './internal/database.ts';
import { quotedSchema } from './internal/schema-name.ts';
import { schemaVersion } from './internal/schema-version.ts';
import { schemaTooNew } from './internal/postgres-error.ts';
import { keepPartitions } from './history-partitions.ts';
import { migrations, newestMigration } from './migrations/index.ts';
import type { PostgresPool } from './postgres-pool.ts';

/** How {@link migrate} works. */
export interface MigrateOptions {
  /** Default `drover`: lower-case letters, digits and `_`, at most 40 characters. */
  readonly schema?: string;
  /** How long one migration may take, waiting for another process that migrates included. Default 10 min. */
  readonly timeoutMs?: number;
  readonly logger?: Logger;
  /** Abort ends it between two migrations. */
  readonly signal?: AbortSignal;
}

/** What {@link migrate} did. */
export interface MigrateResult {
  /** Newest migration before; 0 for an empty database. */
  readonly from: number;
  readonly to: number;
}

/**
 * Brings the schema up to this version, each migration in a transaction of its own under an advisory lock, so that any
 * number of servers may start at once. Running it again changes nothing. The role must be allowed to create the schema.
 *
 * @throws `SCHEMA_TOO_NEW` if a newer version has made a breaking change; `STORE_UNAVAILABLE`; `STORE_INPUT_INVALID`.
 */
export async function migrate(pool: PostgresPool, options: MigrateOptions = {}): Promise<MigrateResult> {
  const { schema = 'drover', timeoutMs = 600_000, logger = silentLogger, signal } = options;
  const s = quotedSchema(schema);
  const database = new Database({ pool, clock: systemClock, logger }, { callTimeoutMs: timeoutMs });
  try {
    let from: number | undefined;
    for (;;) {
      const applied = await database.transaction(signal, async (session) => {
        await session.text(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [`drover migrate ${schema}`]);
        const version = await schemaVersion(session, s);
        from ??= version.newest;
        if (version.breaking > newestMigration) throw schemaTooNew(version.breaking, newestMigration);
        const next = migrations[version.newest];
        if (!next) return undefined;
        if (version.newest === 0) {
          await session.text(`create schema if not exists ${s}`);
          await session.text(
            `create table ${s}.migrations (
               id integer primary key, name text not null, is_breaking boolean not null,
               applied_at timestamptz not null default now())`,
          );
        }
        for (const statement of next.statements(s)) await session.text(statement);
        await session.text(`insert into ${s}.migrations (id, name, is_breaking) values ($1, $2, $3)`, [
          next.id,
          next.name,
          next.isBreaking,
        ]);
        return next;
      });
      if (!applied) break;
      logger.info({ migration: applied.id, name: applied.name }, 'the schema was migrated');
    }
    await keepPartitions(database, { schema: s }, logger);
    return { from: from ?? 0, to: Math.max(from ?? 0, newestMigration) };
  } finally {
    database.close();
  }
}
