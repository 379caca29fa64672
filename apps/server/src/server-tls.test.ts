import { loadAppConfig } from '@drover/app-config';
import { expect, test } from 'vitest';
import { serverConfig } from './server-config.ts';
import { serverTlsFiles } from './server-tls.ts';

const files = (listen: Record<string, string>) => {
  const flags = Object.fromEntries(Object.entries(listen).map(([name, value]) => [`listen.${name}`, value]));
  return serverTlsFiles(loadAppConfig(serverConfig, { env: {}, flags, cwd: '/' }).value);
};
const fault = (code: string) => expect.objectContaining({ code, advice: 'fix-input' }) as Error;

test.each(['127.0.0.1', 'localhost', '::1'])('a server on %s needs no TLS', (host) => {
  expect(files({ host })).toBeUndefined();
});

test.each(['0.0.0.0', '::', '192.0.2.1', 'build.example'])(
  'a server on %s has TLS or says that it has none',
  (host) => {
    expect(() => files({ host })).toThrow(fault('PLAINTEXT_REFUSED'));
    expect(files({ host, plaintext: 'true' })).toBeUndefined();
    expect(files({ host, tls_cert: 'c', tls_key: 'k' })).toEqual({ cert: 'c', key: 'k' });
  },
);

test.each<Record<string, string>>([
  { tls_cert: 'c' },
  { tls_key: 'k' },
  { client_ca: 'a' },
  { client_ca: 'a', tls_cert: 'c' },
  { plaintext: 'true', tls_key: 'k' },
])('half of what TLS needs is refused: %j', (listen) => {
  expect(() => files(listen)).toThrow(fault('TLS_INCOMPLETE'));
});

test('clients are asked for certificates where there is an authority for them', () => {
  expect(files({ tls_cert: 'c', tls_key: 'k', client_ca: 'a' })).toMatchObject({ cert: 'c', key: 'k', clientCa: 'a' });
});
