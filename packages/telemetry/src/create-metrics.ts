import { silentLogger, type Logger, type Meter } from '@drover/lease-kit';
import { PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import { InstrumentType, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics';

/** Metrics of one process. */
export interface Metrics extends AsyncDisposable {
  readonly meter: Meter;
  /**
   * Reads all metrics now, in the text format of Prometheus (0.0.4). Calls at the same time share one reading. What a gauge
   * cannot tell within 5 s is left out, and logged.
   */
  scrape(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** Series of one gauge at most: pools times sizes of agents. What goes beyond is added up under `otel_metric_overflow`. */
const gaugeSeriesMax = 10_000;
/** Series of one counter or histogram at most. */
const seriesMax = 2_000;
const collectTimeoutMs = 5_000;

/** Metrics over the SDK of OpenTelemetry. They are kept in memory, and cost little until somebody reads them. */
export function createMetrics({ logger = silentLogger }: { readonly logger?: Logger } = {}): Metrics {
  const reader = new ScrapeReader({
    cardinalitySelector: (type) => (type === InstrumentType.OBSERVABLE_GAUGE ? gaugeSeriesMax : seriesMax),
  });
  const provider = new MeterProvider({ readers: [reader] });
  const serializer = new PrometheusSerializer(undefined, false, undefined, true, true);
  const read = async () => {
    const { resourceMetrics, errors } = await reader.collect({ timeoutMillis: collectTimeoutMs });
    for (const error of errors) logger.warn({ err: error }, 'some metrics could not be read');
    return {
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      text: `${serializer.serialize(resourceMetrics)}`,
    };
  };
  let reading: ReturnType<typeof read> | undefined;
  return {
    meter: provider.getMeter('drover'),
    scrape: () => (reading ??= read().finally(() => (reading = undefined))),
    [Symbol.asyncDispose]: () => provider.shutdown(),
  };
}

/** Reads when it is asked. */
class ScrapeReader extends MetricReader {
  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }

  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }
}
