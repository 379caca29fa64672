import type { Logger, Meter } from '@drover/lease-kit';
import { createOperatorHost, loadTls, watchTls, type OperatorHost, type TlsWatch } from '@drover/rpc-host';
import type { ServerConfig } from './server-config.ts';
import { metricsTlsFiles } from './server-tls.ts';

/** The metrics of a server, and the port on which they are read. */
export interface ServerMetrics extends AsyncDisposable {
  readonly meter: Meter;
  /** Where they are read, for clients on this machine. Throws `HOST_NOT_LISTENING` before the start. */
  readonly url: string;
  /** Serves them from now on. */
  start(): Promise<void>;
  /** Reads the files of the certificate anew. Never rejects. */
  reload(): Promise<void>;
}

/** Undefined where the configuration asks for none. Throws as {@link metricsTlsFiles} and `loadTls` do. */
export async function createServerMetrics(config: ServerConfig, logger: Logger): Promise<ServerMetrics | undefined> {
  const { host, port } = config.metrics;
  if (port === undefined) return undefined;
  const files = metricsTlsFiles(config);
  const tls = files === undefined ? undefined : await loadTls(files);
  // Who keeps no metrics does not load what keeps them.
  const { createMetrics } = await import('@drover/telemetry/metrics');
  const metrics = createMetrics({ logger });
  const listener = createOperatorHost({ host, port, tls }, { metrics: () => metrics.scrape(), logger });
  let watch: TlsWatch | undefined;
  return {
    meter: metrics.meter,
    get url() {
      return urlOf(listener, tls !== undefined);
    },
    async start() {
      await listener.start();
      logger.info({ url: urlOf(listener, tls !== undefined) }, 'metrics are served');
      if (files !== undefined) watch = watchTls(files, listener, { logger });
    },
    reload: () => watch?.reload() ?? Promise.resolve(),
    async [Symbol.asyncDispose]() {
      watch?.[Symbol.dispose]();
      await listener[Symbol.asyncDispose]();
      await metrics[Symbol.asyncDispose]();
    },
  };
}

function urlOf({ address: { address, family, port } }: OperatorHost, isSecure: boolean): string {
  const every = address === '0.0.0.0' || address === '::';
  const name = every ? 'localhost' : family === 'IPv6' ? `[${address}]` : address;
  return `${isSecure ? 'https' : 'http'}://${name}:${port}/metrics`;
}
