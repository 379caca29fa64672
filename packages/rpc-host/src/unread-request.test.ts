import { once } from 'node:events';
import { request as requestHttp1 } from 'node:http';
import { connect as connectHttp2, constants } from 'node:http2';
import { ByteStream } from '@drover/standard-protocols';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createRpcHost, type RpcHost } from './rpc-host.ts';

const limit = 64 * 1024;
let host: RpcHost;

beforeEach(async () => {
  host = createRpcHost(
    { host: '127.0.0.1', port: 0, limits: { messageReceiveSizeBytesMax: limit, streamWindowSizeBytes: limit } },
    {
      principalOf: () => ({ kind: 'user', id: 'ada' }),
      routes: (router) => router.service(ByteStream, { queryWriteStatus: () => ({}) }),
    },
  );
  await host.start();
});
afterEach(() => host.stop({ graceMs: 0 }));

const path = '/google.bytestream.ByteStream/QueryWriteStatus';
/** Far more than may be under way, so that the caller still sends when the answer comes. */
const tooBig = Buffer.alloc(4 * 1024 * 1024);

test('a gRPC caller that still sends gets its answer, and its stream ends', async () => {
  tooBig.writeUInt32BE(tooBig.length - 5, 1);
  const session = connectHttp2(host.url);
  const headers = { 'content-type': 'application/grpc+proto', te: 'trailers' };
  const stream = session.request({ ':method': 'POST', ':path': path, ...headers });
  const closed = once(stream, 'close');
  const trailers = once(stream, 'trailers');
  stream.resume().end(tooBig);
  expect((await trailers)[0]).toMatchObject({ 'grpc-status': '8' });
  await closed;
  expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  session.close();
  await once(session, 'close');
});

test('so does a Connect caller, by HTTP/2 and by HTTP/1.1', async () => {
  const headers = { 'content-type': 'application/proto' };
  const session = connectHttp2(host.url);
  const stream = session.request({ ':method': 'POST', ':path': path, ...headers });
  const closed = once(stream, 'close');
  const answered = once(stream, 'response');
  stream.resume().end(tooBig);
  expect((await answered)[0]).toMatchObject({ ':status': 429 });
  await closed;
  expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  session.close();
  await once(session, 'close');

  const request = requestHttp1(`${host.url}${path}`, { method: 'POST', headers });
  const response = once(request, 'response');
  const ended = once(request, 'close');
  request.end(tooBig);
  const [incoming] = await response;
  expect(incoming.statusCode).toBe(429);
  incoming.resume();
  await ended;
});

test('one that has sent everything before keeps its connection', async () => {
  const session = connectHttp2(host.url);
  for (const body of [new Uint8Array(0), new Uint8Array(0)]) {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/proto' });
    stream.resume().end(body);
    expect((await once(stream, 'response'))[0]).toMatchObject({ ':status': 200 });
    await once(stream, 'close');
  }
  session.close();
  await once(session, 'close');
});
