import { newestMigration } from '../migrations/index.ts';
import type { Session } from './database.ts';
import { schemaTooNew, schemaTooOld } from './postgres-error.ts';

/** What the database says of its own schema. */
export interface SchemaVersion {
  /** Newest migration; 0 for none. */
  readonly newest: number;
  /** Newest breaking one; 0 for none. */
  readonly breaking: number;
}

/** SQL for the columns of a {@link SchemaVersion}. */
export const schemaVersionColumns = `coalesce(max(id), 0) as newest, coalesce(max(id) filter (where is_breaking), 0) as breaking`;

/** Reads the version; a schema without migrations has version 0. */
export async function schemaVersion(session: Session, s: string): Promise<SchemaVersion> {
  const [table] = await session.text<{ there: boolean }>(`select to_regclass('${s}.migrations') is not null as there`);
  if (!table?.there) return { newest: 0, breaking: 0 };
  const [version] = await session.text<SchemaVersion>(`select ${schemaVersionColumns} from ${s}.migrations`);
  return version ?? { newest: 0, breaking: 0 };
}

/** The error that keeps this version away from a schema, or undefined if they fit. */
export function schemaRefusal(version: SchemaVersion): Error | undefined {
  if (version.breaking > newestMigration) return schemaTooNew(version.breaking, newestMigration);
  if (version.newest < newestMigration) return schemaTooOld(version.newest, newestMigration);
  return undefined;
}
