import { DroverError, type ErrorAdvice } from '@drover/lease-kit';

/** Codes of the errors that the content service adds to those of the store. */
export type ContentServiceErrorCode =
  | 'BATCH_TOO_LARGE'
  | 'COMPRESSOR_UNSUPPORTED'
  | 'DIGEST_FUNCTION_UNSUPPORTED'
  | 'PAGE_TOKEN_INVALID'
  | 'READ_LIMIT_INVALID'
  | 'RESOURCE_NAME_INVALID'
  | 'TOO_MANY_CALLS'
  | 'UPLOAD_STALLED'
  | 'UPLOAD_UNKNOWN'
  | 'WRITE_REQUEST_INVALID';

/** An error of the service with one of its codes. */
export function serviceError(
  code: ContentServiceErrorCode,
  message: string,
  advice: ErrorAdvice = 'fix-input',
  retryAfterMs?: number,
): DroverError {
  return new DroverError({ code, advice, message, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
}
