import { expect, test } from 'vitest';
import {
  describeGraphile,
  graphileDefault,
  graphileDocumentedBest,
  graphileWorkerOptions,
} from './graphile-configuration.ts';
import { graphileVersion } from './graphile-peer.ts';

test('the peer as it comes is told with the defaults of what is off', () => {
  expect(describeGraphile('0.18.0', graphileDefault)).toBe(
    'graphile-worker 0.18.0, 1 worker process: concurrentJobs 24, maxPoolSize 25, localQueue.size -1 (its default: off), ' +
      'completeJobBatchDelay -1 (its default: off), failJobBatchDelay -1 (its default: off)',
  );
});

test('the peer with batching is told with its numbers', () => {
  expect(describeGraphile('0.18.0', { ...graphileDocumentedBest, processes: 2 })).toBe(
    'graphile-worker 0.18.0, 2 worker processes: concurrentJobs 24, maxPoolSize 25, localQueue.size 500, ' +
      'completeJobBatchDelay 0, failJobBatchDelay 0',
  );
});

test('the peer gets exactly what is told, and nothing for what stays at its default', () => {
  expect(graphileWorkerOptions(graphileDefault)).toEqual({ concurrentJobs: 24 });
  expect(graphileWorkerOptions(graphileDocumentedBest)).toEqual({
    concurrentJobs: 24,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  });
});

test('the version is that of the package that runs', async () => {
  expect(await graphileVersion()).toMatch(/^0\.18\.\d+/);
});
