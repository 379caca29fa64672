import { DroverError, type ErrorAdvice } from '@drover/lease-kit';

const advices = {
  SERVICE_MANAGER_MISSING: 'unavailable',
  SERVICE_DENIED: 'denied',
  SERVICE_MISSING: 'not-found',
  SERVICE_NOT_OURS: 'conflict',
  SERVICE_CHANGED: 'conflict',
  SERVICE_NOT_STARTED: 'unavailable',
  SERVICE_COMMAND_FAILED: 'unavailable',
  SERVICE_INVALID: 'fix-input',
} as const satisfies Record<string, ErrorAdvice>;

/** An error of a service manager, by its code. */
export function serviceError(code: keyof typeof advices, message: string, cause?: unknown): DroverError {
  return new DroverError({ code, advice: advices[code], message, ...(cause === undefined ? {} : { cause }) });
}
