import { DroverError, type ErrorAdvice } from '@drover/lease-kit';

/** What can go wrong with a compile that is not the compiler's own failure. A client compiles locally on all of them. */
const advices = {
  COMPILE_INVALID: 'fix-input',
  COMPILE_ARGUMENT_REFUSED: 'fix-input',
  COMPILE_SOURCE_DIGEST_WRONG: 'fix-input',
  COMPILE_TOKEN_OTHER_IMAGE: 'denied',
  COMPILE_PARANOIA_DIFFERS: 'conflict',
  COMPILER_NOT_FOUND: 'not-found',
  COMPILE_OUT_OF_MEMORY: 'exhausted',
  COMPILE_TIMED_OUT: 'exhausted',
  COMPILE_OUTPUT_TOO_LARGE: 'exhausted',
  COMPILE_SANDBOX_FULL: 'exhausted',
  COMPILE_SANDBOX_LOST: 'unavailable',
  COMPILES_TOO_MANY: 'exhausted',
  WORKER_DRAINS: 'unavailable',
} as const satisfies Record<string, ErrorAdvice>;

/** Makes one of these errors. */
export function compileError(code: keyof typeof advices, message: string, cause?: unknown): DroverError {
  return new DroverError({ code, advice: advices[code], message, cause });
}
