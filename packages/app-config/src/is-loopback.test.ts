import { expect, test } from 'vitest';
import { isLoopback } from './is-loopback.ts';

test.each(['127.0.0.1', '127.8.8.8', '::1', '[::1]', 'localhost', 'LOCALHOST'])('%s is this machine', (host) => {
  expect(isLoopback(host)).toBe(true);
});
test.each(['0.0.0.0', '::', '192.0.2.1', 'build.example', '127.evil.example', 'localhost.example', '1.127.0.0'])(
  '%s may be another one',
  (host) => {
    expect(isLoopback(host)).toBe(false);
  },
);
