import { isDroverError, messageOf, type LogFields, type Logger } from '@drover/lease-kit';
import { pino, type Logger as PinoLogger } from 'pino';
import { PinoPretty } from 'pino-pretty';

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
}

/** Names of fields whose values never reach a log. */
const secretFields = ['token', 'password', 'secret', 'authorization', 'url.password', 'connectionString'];

/** Makes a logger over pino. Lines are written at once, so that the last one before a crash is there. */
export function createLogger(options: LoggerOptions): Logger {
  const destination = options.destination ?? process.stderr;
  const pretty = options.format === 'pretty' || (options.format === 'auto' && destination.isTTY);
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
          destination,
          sync: true,
          colorize: destination.isTTY,
          ignore: 'app',
          translateTime: 'SYS:HH:MM:ss.l',
        })
      : destination,
  );
  return loggerOver(logger);
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
