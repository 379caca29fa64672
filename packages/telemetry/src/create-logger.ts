import { isDroverError, messageOf, type LogFields, type Logger } from '@drover/lease-kit';
import { Writable } from 'node:stream';
import { pino, type Logger as PinoLogger } from 'pino';
import { PinoPretty } from 'pino-pretty';
import { openLogFile, type LogFile, type LogFileOptions } from './open-log-file.ts';

/** How lines are written. */
export interface LoggerOptions {
  /** The least important lines that are written. */
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** `json`: one object a line. `pretty`: for people. `auto`: pretty on a terminal, JSON elsewhere. */
  readonly format: 'json' | 'pretty' | 'auto';
  /** Stands on every line, e.g. `{ app: 'server' }`. */
  readonly base?: LogFields;
  /** Where lines go; default standard error. */
  readonly destination?: NodeJS.WriteStream;
  /** A file for them instead; those that it does not take go to the destination. */
  readonly file?: LogFileOptions;
}

/** The logger of an app. */
export interface AppLogger extends Logger {
  /** Opens the log file anew, where there is one: somebody else may have moved it away. */
  reopenFile(): void;
}

/** Names of fields whose values never reach a log. */
const secretFields = ['token', 'password', 'secret', 'authorization', 'url.password', 'connectionString'];

/**
 * Makes a logger over pino. Lines are written at once, so that the last one before a crash is there. Throws
 * `LOG_FILE_UNWRITABLE`.
 */
export function createLogger(options: LoggerOptions): AppLogger {
  const stream = options.destination ?? process.stderr;
  const file = options.file === undefined ? undefined : openLogFile(options.file, { fallback: stream });
  const isTerminal = file === undefined && stream.isTTY;
  const pretty = options.format === 'pretty' || (options.format === 'auto' && isTerminal);
  const logger = pino(
    {
      level: options.level,
      base: options.base ?? {},
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: errorFields },
      redact: { paths: secretFields.flatMap((name) => [name, `*.${name}`]), censor: '(secret)' },
    },
    pretty
      ? PinoPretty({
          destination: file === undefined ? stream : streamOf(file),
          sync: true,
          colorize: isTerminal,
          ignore: 'app',
          translateTime: 'SYS:HH:MM:ss.l',
        })
      : (file ?? stream),
  );
  return { ...loggerOver(logger), reopenFile: () => file?.reopen() };
}

/** What is written to it is in the file when the call returns. */
function streamOf(file: LogFile): Writable {
  return new Writable({
    write(chunk: Buffer, _, done) {
      file.write(chunk.toString());
      done();
    },
  });
}

/** A foreseen failure is told by what it is; a stack is for those that nobody foresaw. */
function errorFields(error: unknown): unknown {
  if (!isDroverError(error) || error.advice === 'internal') {
    return error instanceof Error ? pino.stdSerializers.errWithCause(error) : error;
  }
  const { name: type, code, advice, message, details, cause } = error;
  const why = cause === undefined || messageOf(cause).includes(message) ? {} : { cause: messageOf(cause) };
  return { type, code, advice, message, ...(Object.keys(details).length === 0 ? {} : { details }), ...why };
}

function loggerOver(logger: PinoLogger): Logger {
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    child: (fields) => loggerOver(logger.child(fields)),
  };
}
