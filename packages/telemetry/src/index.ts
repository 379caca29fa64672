export { createLogger, type AppLogger, type LoggerOptions } from './create-logger.ts';
export type { LogFileOptions } from './open-log-file.ts';
