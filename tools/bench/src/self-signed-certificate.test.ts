import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { createSelfSignedCertificate } from './self-signed-certificate.ts';

test('the certificate is for this machine and signed by its own key', () => {
  const { cert } = createSelfSignedCertificate();
  const parsed = new X509Certificate(cert);
  expect(parsed.verify(parsed.publicKey)).toBe(true);
  expect(parsed.checkIP('127.0.0.1')).toBe('127.0.0.1');
  expect(parsed.checkHost('localhost')).toBe('localhost');
});

test('the certificate holds from a day before to a day after', () => {
  const parsed = new X509Certificate(createSelfSignedCertificate(new Date('2026-05-04T03:02:01Z')).cert);
  expect(new Date(parsed.validFrom).toISOString()).toBe('2026-05-03T03:02:01.000Z');
  expect(new Date(parsed.validTo).toISOString()).toBe('2026-05-05T03:02:01.000Z');
});

test('a client that trusts it completes a handshake', async () => {
  const { cert, key } = createSelfSignedCertificate();
  const server = createServer({ cert, key }, (socket) => socket.end('ok'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, ca: cert });
  await once(socket, 'secureConnect');
  expect(socket.authorized).toBe(true);
  socket.resume();
  await once(socket, 'close');
  server.close();
  await once(server, 'close');
});
