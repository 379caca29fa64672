/** What of graphile-worker's settings the benchmarks set. Absent: its own default. */
export interface GraphileConfiguration {
  readonly concurrentJobs: number;
  /** Connections of its pool. */
  readonly maxPoolSize: number;
  /** Jobs that a worker process fetches ahead. */
  readonly localQueueSize?: number;
  /** How long completions are gathered, in ms. */
  readonly completeJobBatchDelayMs?: number;
  readonly failJobBatchDelayMs?: number;
  /** Worker processes. */
  readonly processes: number;
}

/**
 * As it comes: every setting that decides about speed at its default, at the concurrency of its own performance test and
 * with a connection for each of its workers, as the page "Performance" of its documentation has it ("Without batching").
 */
export const graphileDefault: GraphileConfiguration = { concurrentJobs: 24, maxPoolSize: 25, processes: 1 };

/** The fastest configuration that its documentation names (page "Performance", "With batching"). */
export const graphileDocumentedBest: GraphileConfiguration = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueueSize: 500,
  completeJobBatchDelayMs: 0,
  failJobBatchDelayMs: 0,
  processes: 1,
};

/**
 * Configurations among which the run itself looks for the peer's best on this machine: what its documentation names for high
 * throughput (a local queue of 500 or of one more than the concurrency, batches that wait 0 or 25 ms) and, as in its own
 * performance test, several processes.
 */
export const graphileTunedCandidates: readonly GraphileConfiguration[] = [
  graphileDocumentedBest,
  { ...graphileDocumentedBest, processes: 2 },
  { ...graphileDocumentedBest, completeJobBatchDelayMs: 25, failJobBatchDelayMs: 25 },
  { ...graphileDocumentedBest, completeJobBatchDelayMs: 25, failJobBatchDelayMs: 25, processes: 2 },
  { ...graphileDocumentedBest, localQueueSize: 25, completeJobBatchDelayMs: 25, failJobBatchDelayMs: 25 },
];

/** One line that says how the peer ran, in its own words for its settings. */
export function describeGraphile(version: string, configuration: GraphileConfiguration): string {
  const { concurrentJobs, maxPoolSize, localQueueSize, completeJobBatchDelayMs, failJobBatchDelayMs, processes } =
    configuration;
  const settings = [
    `concurrentJobs ${concurrentJobs}`,
    `maxPoolSize ${maxPoolSize}`,
    `localQueue.size ${localQueueSize ?? '-1 (its default: off)'}`,
    `completeJobBatchDelay ${completeJobBatchDelayMs ?? '-1 (its default: off)'}`,
    `failJobBatchDelay ${failJobBatchDelayMs ?? '-1 (its default: off)'}`,
  ];
  return `graphile-worker ${version}, ${processes} worker process${processes === 1 ? '' : 'es'}: ${settings.join(', ')}`;
}

/** The settings under the peer's names, for its preset. */
export function graphileWorkerOptions(configuration: GraphileConfiguration): GraphileConfig.WorkerOptions {
  const { concurrentJobs, localQueueSize, completeJobBatchDelayMs, failJobBatchDelayMs } = configuration;
  return {
    concurrentJobs,
    ...(localQueueSize === undefined ? {} : { localQueue: { size: localQueueSize } }),
    ...(completeJobBatchDelayMs === undefined ? {} : { completeJobBatchDelay: completeJobBatchDelayMs }),
    ...(failJobBatchDelayMs === undefined ? {} : { failJobBatchDelay: failJobBatchDelayMs }),
  };
}
