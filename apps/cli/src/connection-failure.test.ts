import { DroverError, type ErrorAdvice } from '@drover/lease-kit';
import { expect, test } from 'vitest';
import { connectionFailure } from './connection-failure.ts';

const failureOf = (code: string, advice: ErrorAdvice, message: string) =>
  connectionFailure(new DroverError({ code, advice, message }));

test('each way not to reach a server says what to do about it', () => {
  expect(failureOf('RPC_UNAVAILABLE', 'unavailable', 'connect ECONNREFUSED')?.text).toMatch(
    /ECONNREFUSED.*drover up.*--server/,
  );
  expect(failureOf('RPC_INTERNAL', 'internal', 'self-signed certificate')).toMatchObject({
    code: 'SERVER_UNTRUSTED',
    exitCode: 5,
    text: expect.stringContaining('--ca') as string,
  });
  expect(failureOf('UNAUTHENTICATED', 'denied', 'no principal')).toMatchObject({
    exitCode: 5,
    text: expect.stringContaining('--token') as string,
  });
});

test('what the server said of the request is left alone', () => {
  expect(failureOf('JOB_NOT_FOUND', 'not-found', 'certificate')).toBeUndefined();
  expect(connectionFailure(new Error('x'))).toBeUndefined();
});
