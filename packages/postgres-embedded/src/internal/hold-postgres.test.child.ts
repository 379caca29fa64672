import { messageOf } from '@drover/lease-kit';
import { startEmbeddedPostgres } from '../start-embedded-postgres.ts';

/**
 * A process that tests start, look at and kill: it holds the embedded Postgres of the folder in its first argument, with
 * relocation to the second, and writes one line of JSON to its output: what was started, or the error.
 */
try {
  const [dataDir = '', relocationDir = ''] = process.argv.slice(2);
  const postgres = await startEmbeddedPostgres({ dataDir, ...(relocationDir === '' ? {} : { relocationDir }) });
  console.log(JSON.stringify({ url: postgres.url, dataDir: postgres.dataDir }));
} catch (error) {
  console.log(JSON.stringify({ code: (error as { code?: string }).code, message: messageOf(error) }));
}
