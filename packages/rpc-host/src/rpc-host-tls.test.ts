import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectSocket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { IncomingMessage } from 'node:http';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Client, credentials } from '@grpc/grpc-js';
import { Health } from '@drover/standard-protocols';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createRpcHost, type RpcHost } from './rpc-host.ts';

/** Self-signed for localhost and 127.0.0.1, valid for a century; its key is public and good for nothing else. */
const cert = `-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUUrBp3+2zSWzcnm1KtHKh+JfzvMAwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTIzMzM1OFoYDzIxMjYxMDI4
MjMzMzU4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARVoo0kKr0JkSVsvGODQvsIKFdQUdKgqYubXmjXCH6eT3L/VOpJN6Xt
RpSUugtxEx6hXrU9GNpVgUSoI1GBReDJo28wbTAdBgNVHQ4EFgQU51kEJN+NoKZm
tipVtPPTyGKd9xswHwYDVR0jBBgwFoAU51kEJN+NoKZmtipVtPPTyGKd9xswDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhALS23ThhTKAjarAzehVq3cW8Z+sspma/0YR0VDgQeR4uAiEA
5nkLFAiDVNc0O0Sk9qO5YucWMRAqsnWoqeFd+6yAxyY=
-----END CERTIFICATE-----
`;
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgrnzr4u5tvBH8oSjv
LTvGWncO5T9KhcS62D3+EATB7O6hRANCAARVoo0kKr0JkSVsvGODQvsIKFdQUdKg
qYubXmjXCH6eT3L/VOpJN6XtRpSUugtxEx6hXrU9GNpVgUSoI1GBReDJ
-----END PRIVATE KEY-----
`;

let host: RpcHost;
beforeAll(async () => {
  host = createRpcHost(
    { host: '127.0.0.1', port: 0, tls: { cert, key }, limits: { firstByteTimeoutMs: 100 } },
    { principalOf: () => undefined, routes: () => undefined },
  );
  await host.start();
});
afterAll(async () => {
  await host.stop({ graceMs: 0 });
  expect(host.connectionCount).toBe(0);
});

test('gRPC over TLS, chosen by ALPN', async () => {
  expect(host.url).toMatch(/^https:/);
  const client = createClient(
    Health,
    createGrpcTransport({ baseUrl: `https://localhost:${host.address.port}`, nodeOptions: { ca: cert } }),
  );
  expect(await client.check({})).toMatchObject({ status: 1 });
});

test('a standard gRPC client over TLS', async () => {
  const client = new Client(`localhost:${host.address.port}`, credentials.createSsl(Buffer.from(cert)));
  const status = await new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(
      '/grpc.health.v1.Health/Check',
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      Buffer.alloc(0),
      (error, bytes) => (error === null && bytes !== undefined ? resolve(bytes) : reject(error as Error)),
    );
  });
  // Field 1, SERVING.
  expect([...status]).toEqual([8, 1]);
  client.close();
});

test('HTTP/1.1 over TLS, with and without ALPN', async () => {
  for (const ALPNProtocols of [['http/1.1'], undefined]) {
    const sent = request(`https://localhost:${host.address.port}/healthz`, {
      ca: cert,
      agent: false,
      ...(ALPNProtocols && { ALPNProtocols }),
    }).end();
    const [answer] = (await once(sent, 'response')) as [IncomingMessage];
    expect([answer.statusCode, await text(answer)]).toEqual([200, '{"alive":true}\n']);
  }
});

test('a client that speaks no TLS, or never finishes its handshake, is closed', async () => {
  for (const sent of ['GET / HTTP/1.1\r\n\r\n', '']) {
    const socket = connectSocket(host.address.port, '127.0.0.1');
    socket.on('error', () => undefined).resume();
    if (sent !== '') socket.write(sent);
    await once(socket, 'close');
  }
});
