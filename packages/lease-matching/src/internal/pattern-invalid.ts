import { DroverError } from '@drover/lease-kit';

/** The error `PATTERN_INVALID`: what was wrong with a regular expression and what is allowed. */
export function patternInvalid(source: string, problem: string, allowed: string): DroverError {
  const shown = source.length > 80 ? `${source.slice(0, 80)}…` : source;
  return new DroverError({
    code: 'PATTERN_INVALID',
    advice: 'fix-input',
    message: `The pattern ${JSON.stringify(shown)} is invalid: ${problem}; allowed: ${allowed}.`,
    details: { problem, allowed },
  });
}
