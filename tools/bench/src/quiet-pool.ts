import pg from 'pg';

/**
 * A pool whose idle connections may fail without ending the process, e.g. while the run is being stopped; what fails in use
 * still fails its query.
 */
export function quietPool(connectionString: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString, max, application_name: 'drover-bench' });
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}
