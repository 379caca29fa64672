import { setTimeout as delay } from 'node:timers/promises';
import { afterAll } from 'vitest';
import { settledLeftovers } from './open-resources.ts';

/**
 * Fails a test file that leaves a timer, socket, server, watcher or child process open: it would keep a service from
 * ending, and in a test it becomes the next file's failure. Runs once a file, before the file's own code, so that its
 * afterAll comes last.
 */
// Node opens the standard streams when they are first touched; they are not the file's.
void [process.stdin, process.stdout, process.stderr];
const before = process.getActiveResourcesInfo();

afterAll(async () => {
  const leftovers = await settledLeftovers({
    before,
    active: () => process.getActiveResourcesInfo(),
    pause: () => delay(10),
  });
  if (leftovers.length > 0) {
    throw new Error(
      `This test file left open: ${leftovers.join(', ')}. Stop what it started (afterEach, afterAll or "await using").`,
    );
  }
});
