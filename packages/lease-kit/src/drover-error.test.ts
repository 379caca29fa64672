import { describe, expect, test } from 'vitest';
import { DroverError, isDroverError, isRetryable, messageOf } from './drover-error.ts';

const error = new DroverError({ code: 'X_FULL', advice: 'exhausted', message: 'full', retryAfterMs: 5, cause: 'why' });

describe('a DroverError', () => {
  test('carries its code, its advice and its cause', () => {
    expect(error).toMatchObject({
      name: 'DroverError',
      code: 'X_FULL',
      advice: 'exhausted',
      retryAfterMs: 5,
      cause: 'why',
    });
    expect(error.details).toEqual({});
  });

  test('is recognized when it comes from another copy of the package', () => {
    const foreign = Object.assign(new Error('x'), {
      code: 'X_FULL',
      [Symbol.for('@drover/lease-kit/DroverError')]: true,
    });
    expect(isDroverError(foreign)).toBe(true);
    expect(isDroverError(foreign, 'X_FULL')).toBe(true);
    expect(isDroverError(foreign, 'Y')).toBe(false);
    expect(isDroverError(new Error('x'))).toBe(false);
    expect(isDroverError(undefined)).toBe(false);
  });

  test('says whether the same call may succeed later', () => {
    expect(isRetryable(error)).toBe(true);
    expect(isRetryable(new DroverError({ code: 'A', advice: 'fix-input', message: '' }))).toBe(false);
    expect(isRetryable(new Error('x'))).toBe(false);
  });

  test('anything that was thrown has a text', () => {
    expect([messageOf(error), messageOf('text'), messageOf(undefined)]).toEqual(['full', 'text', 'undefined']);
  });
});
