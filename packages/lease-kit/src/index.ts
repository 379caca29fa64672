export { systemClock, type Clock, type ScheduledCall } from './clock.ts';
export {
  DroverError,
  isDroverError,
  isRetryable,
  messageOf,
  type DroverErrorOptions,
  type ErrorAdvice,
  type ErrorDetails,
} from './drover-error.ts';
export { silentLogger, type LogFields, type Logger } from './logger.ts';
export { principalName, type Principal } from './principal.ts';
