/** Names and values that stand on a log line beside its message. */
export type LogFields = Readonly<Record<string, unknown>>;

/**
 * Structured logging as the libraries need it; pino satisfies it through `@drover/telemetry`. Field names in use
 * everywhere: `leaseId`, `attempt`, `agentId`, `sessionId`, `epoch`, `jobId`, `err`.
 */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger that puts `fields` on every line. */
  child(fields: LogFields): Logger;
}

/** A logger that drops every line: the default of every library. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};
