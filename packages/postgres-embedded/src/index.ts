export type { EmbeddedPostgresErrorCode } from './internal/errors.ts';
export {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresExit,
  type EmbeddedPostgresOptions,
} from './start-embedded-postgres.ts';
