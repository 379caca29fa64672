import { isDroverError, type ErrorAdvice } from '@drover/lease-kit';
import { exitCodes, type ExitCode } from './exit-codes.ts';

const byAdvice: Readonly<Record<ErrorAdvice, ExitCode>> = {
  'fix-input': exitCodes.input,
  'not-found': exitCodes.notFound,
  conflict: exitCodes.unavailable,
  fenced: exitCodes.fenced,
  denied: exitCodes.denied,
  exhausted: exitCodes.unavailable,
  unavailable: exitCodes.unavailable,
  cancelled: exitCodes.interrupted,
  internal: exitCodes.internal,
};

/** The exit code that an error ends an app with. */
export function exitCodeOfError(error: unknown): ExitCode {
  return isDroverError(error) ? byAdvice[error.advice] : exitCodes.internal;
}
