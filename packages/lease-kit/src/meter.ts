/** Names and values that tell the series of one metric apart. Their values come from a bounded set, never from a caller. */
export type MetricLabels = Readonly<Record<string, string | number | boolean>>;

/** What is said of a metric when it is made. */
export interface MetricOptions {
  /** One sentence for people. */
  readonly description?: string;
  /** Upper bounds of a histogram's buckets, ascending. Absent: those of the meter. */
  readonly advice?: { explicitBucketBoundaries?: number[] };
}

/** Counts what happens; never goes down. Its name ends in `_total`. */
export interface Counter {
  add(count: number, labels?: MetricLabels): void;
}

/** How values are spread, such as durations. Its name ends in its unit. */
export interface Histogram {
  record(value: number, labels?: MetricLabels): void;
}

/** Where a gauge's callback puts what it sees. */
export interface Observation {
  observe(value: number, labels?: MetricLabels): void;
}

/** A value that is asked for when somebody reads the metrics, and costs nothing until then. */
export interface ObservableGauge {
  /** A callback that rejects leaves its series out of that reading. */
  addCallback(callback: (observation: Observation) => void | Promise<void>): void;
}

/**
 * Metrics as the libraries need them. `Meter` of `@opentelemetry/api` is one, so that libraries do without it. Names are those
 * of Prometheus, with their unit last: `drover_store_call_duration_seconds`.
 */
export interface Meter {
  createCounter(name: string, options?: MetricOptions): Counter;
  createHistogram(name: string, options?: MetricOptions): Histogram;
  createObservableGauge(name: string, options?: MetricOptions): ObservableGauge;
}

const nothing = (): void => undefined;

/** A meter that measures nothing: the default of every library. */
export const silentMeter: Meter = {
  createCounter: () => ({ add: nothing }),
  createHistogram: () => ({ record: nothing }),
  createObservableGauge: () => ({ addCallback: nothing }),
};
