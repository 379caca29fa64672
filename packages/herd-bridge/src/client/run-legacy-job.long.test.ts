import { test } from 'vitest';
import { expectToReadAnything } from './run-legacy-job.test.fixture.ts';

test('whatever an agent says, it is read to an end, and leaves nothing', { timeout: 600_000 }, () =>
  expectToReadAnything(100_000),
);
