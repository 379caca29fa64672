import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';

/** The database is away, overloaded or restarting; the same call may succeed later. */
export function storeUnavailable(message: string, cause?: unknown): DroverError {
  return new DroverError({
    code: 'STORE_UNAVAILABLE',
    advice: 'unavailable',
    message: `The database does not serve this call: ${message}`,
    retryAfterMs: 500,
    cause,
  });
}

/** The schema in the database was made by a newer version that this one cannot work with. */
export function schemaTooNew(found: number, known: number): DroverError {
  return new DroverError({
    code: 'SCHEMA_TOO_NEW',
    advice: 'conflict',
    message: `The database has the breaking migration ${found}; this version knows up to ${known}. Run a newer version.`,
    details: { found, known },
  });
}

/** The schema is missing or older than this version needs. */
export function schemaTooOld(found: number, needed: number): DroverError {
  return new DroverError({
    code: 'SCHEMA_TOO_OLD',
    advice: 'conflict',
    message: `The database has migrations up to ${found}; this version needs ${needed}. Run migrate() first.`,
    details: { found, needed },
  });
}

/** SQLSTATE of an error that Postgres reported, undefined for one of the connection. */
export function sqlStateOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error as { code: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]{4}$/.test(code) ? code : undefined;
}

/** Name of the constraint that an error is about. */
export function constraintOf(error: unknown): string | undefined {
  return (error as { constraint?: string } | undefined)?.constraint;
}

/** True if the same call may be tried at once: a deadlock or a serialization failure rolled it back. */
export function isTransient(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === '40P01' || state === '40001';
}

/** True if the connection is of no more use. */
export function isConnectionLost(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === undefined ? !isDroverError(error) : state.startsWith('08') || state.startsWith('57P');
}

/**
 * What a failed call throws: connection trouble, resource trouble, time limits and read-only standbys are
 * STORE_UNAVAILABLE, a missing schema is SCHEMA_TOO_OLD, the rest is a defect.
 */
export function errorFromPostgres(error: unknown): DroverError {
  if (isDroverError(error)) return error;
  const state = sqlStateOf(error);
  if (state === undefined || /^(08|53|57|58|40|55P03|25006|25P0)/.test(state)) {
    return storeUnavailable(messageOf(error), error);
  }
  if (state === '42P01' || state === '3F000' || state === '42703') {
    return new DroverError({
      code: 'SCHEMA_TOO_OLD',
      advice: 'conflict',
      message: `The database lacks a part of the schema (${messageOf(error)}). Run migrate() first.`,
      cause: error,
    });
  }
  return new DroverError({
    code: 'STORE_INTERNAL',
    advice: 'internal',
    message: `The database refused a statement of the store (${state}): ${messageOf(error)}`,
    details: { sqlState: state },
    cause: error,
  });
}
