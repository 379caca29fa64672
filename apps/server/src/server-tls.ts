import { DroverError } from '@drover/lease-kit';
import { isLoopback } from '@drover/app-config';
import type { TlsFiles } from '@drover/rpc-host';
import type { ServerConfig } from './server-config.ts';

/**
 * Where the TLS of the metrics' listener is: that of the server's listener, except on loopback and with `metrics.plaintext`, where
 * it is in cleartext. Throws `PLAINTEXT_REFUSED`.
 */
export function metricsTlsFiles({ metrics, listen }: Pick<ServerConfig, 'metrics' | 'listen'>): TlsFiles | undefined {
  if (metrics.plaintext || isLoopback(metrics.host)) return undefined;
  if (listen.tls_cert !== undefined) return serverTlsFiles({ listen });
  throw new DroverError({
    code: 'PLAINTEXT_REFUSED',
    advice: 'fix-input',
    message:
      `metrics.host is ${metrics.host}, which other machines reach: set listen.tls_cert and listen.tls_key, whose certificate ` +
      `it shows too; or metrics.plaintext = true (--metrics-plaintext)`,
  });
}

/** Where the TLS of a server's listener is; undefined for cleartext. Throws `PLAINTEXT_REFUSED` and `TLS_INCOMPLETE`. */
export function serverTlsFiles({ listen }: Pick<ServerConfig, 'listen'>): TlsFiles | undefined {
  const { host, tls_cert: cert, tls_key: key, client_ca: clientCa, client_certificates: clientCertificates } = listen;
  if (cert !== undefined && key !== undefined) {
    return clientCa === undefined ? { cert, key } : { cert, key, clientCa, clientCertificates };
  }
  if (cert !== undefined || key !== undefined || clientCa !== undefined) {
    throw new DroverError({
      code: 'TLS_INCOMPLETE',
      advice: 'fix-input',
      message: 'listen.tls_cert and listen.tls_key go together, and listen.client_ca needs both',
    });
  }
  if (!isLoopback(host) && !listen.plaintext) {
    throw new DroverError({
      code: 'PLAINTEXT_REFUSED',
      advice: 'fix-input',
      message:
        `listen.host is ${host}, which other machines reach: set listen.tls_cert and listen.tls_key; or, behind a proxy ` +
        `that has TLS, listen.plaintext = true (--listen-plaintext)`,
    });
  }
  return undefined;
}
