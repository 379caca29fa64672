import { DroverError, type ErrorAdvice, type ErrorDetails } from '@drover/lease-kit';

/** Every failure of this package, with what the caller should do next. */
const adviceByCode = {
  EMBEDDED_POSTGRES_UNSUPPORTED: 'fix-input',
  EMBEDDED_POSTGRES_NO_USER: 'fix-input',
  EMBEDDED_POSTGRES_OPTION_INVALID: 'fix-input',
  EMBEDDED_POSTGRES_FOLDER_DENIED: 'denied',
  EMBEDDED_POSTGRES_IN_USE: 'conflict',
  EMBEDDED_POSTGRES_PORT_IN_USE: 'conflict',
  EMBEDDED_POSTGRES_VERSION_MISMATCH: 'conflict',
  EMBEDDED_POSTGRES_PASSWORD_LOST: 'conflict',
  EMBEDDED_POSTGRES_STUCK: 'unavailable',
  EMBEDDED_POSTGRES_START_FAILED: 'unavailable',
} as const satisfies Record<string, ErrorAdvice>;

/** Stable codes of the errors that `startEmbeddedPostgres` throws. */
export type EmbeddedPostgresErrorCode = keyof typeof adviceByCode;

/** An error of this package; `message` says what was wrong, where, and what to do. */
export function embeddedPostgresError(
  code: EmbeddedPostgresErrorCode,
  message: string,
  details: ErrorDetails = {},
  cause?: unknown,
): DroverError {
  return new DroverError({
    code,
    advice: adviceByCode[code],
    message,
    details,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The system's error code, such as `ENOENT`; absent for anything else that was thrown. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}
