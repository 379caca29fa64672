import { DroverError, type ErrorAdvice } from '@drover/lease-kit';

const advices = {
  IMAGE_DIGEST_INVALID: 'fix-input',
  IMAGE_REFERENCE_INVALID: 'fix-input',
  IMAGE_NOT_FOUND: 'not-found',
  IMAGE_INVALID: 'fix-input',
  IMAGE_UNSUPPORTED: 'fix-input',
  IMAGE_TOO_LARGE: 'fix-input',
  IMAGE_DIGEST_WRONG: 'conflict',
  IMAGE_SOURCE_DENIED: 'denied',
  IMAGE_SOURCE_UNAVAILABLE: 'unavailable',
  IMAGE_CATALOGUE_FULL: 'exhausted',
  IMAGE_CATALOGUE_CLOSED: 'unavailable',
  IMAGE_CATALOGUE_IN_USE: 'conflict',
} as const satisfies Record<string, ErrorAdvice>;

/** What can be wrong with an image or with how it is had. */
export type ImageFault = keyof typeof advices;

/** The error of a fault. */
export function imageFault(code: ImageFault, message: string, cause?: unknown): DroverError {
  return new DroverError({ code, advice: advices[code], message, ...(cause === undefined ? {} : { cause }) });
}
