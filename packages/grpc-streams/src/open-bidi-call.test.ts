import { once } from 'node:events';
import { constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { create, toBinary, type DescMethodBiDiStreaming } from '@bufbuild/protobuf';
import { DurationSchema, type Duration } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError } from '@connectrpc/connect';
import { Http2SessionManager } from '@connectrpc/connect-node';
import { describe, expect, test } from 'vitest';
import { envelope } from './envelope.ts';
import { openBidiCall, type BidiCallOptions } from './open-bidi-call.ts';

/** `service Test { rpc Talk(stream Duration) returns (stream Duration); }`, as far as a call looks at it. */
const talk = {
  name: 'Talk',
  parent: { typeName: 'drover.test.Test' },
  input: DurationSchema,
  output: DurationSchema,
} as unknown as DescMethodBiDiStreaming<typeof DurationSchema, typeof DurationSchema>;

type Serve = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** A server that is nothing but HTTP/2, so that each frame is the test's own. */
async function start(serve: Serve) {
  const server = createServer();
  const sockets = new Set<{ destroy(): void }>();
  server.on('connection', (socket) => sockets.add(socket));
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    serve(stream, headers);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connection = new Http2SessionManager(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    cut,
    call(requests: AsyncIterable<Duration>, options: Partial<BidiCallOptions> = {}) {
      const signal = new AbortController().signal;
      const common = { connection, headers: { 'x-who': 'ada' }, readMaxBytes: 100, writeMaxBytes: 100, signal };
      return openBidiCall(talk, requests, { ...common, ...options });
    },
    async [Symbol.asyncDispose]() {
      connection.abort();
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const seconds = (value: bigint): Duration => create(DurationSchema, { seconds: value });
const body = (value: bigint): Buffer => envelope(toBinary(DurationSchema, seconds(value)));
const grpc = { ':status': 200, 'content-type': 'application/grpc+proto' };

function respond(stream: ServerHttp2Stream): void {
  stream.respond(grpc, { waitForTrailers: true });
}

function endWith(stream: ServerHttp2Stream, trailers: Record<string, string>): void {
  stream.once('wantTrailers', () => stream.sendTrailers(trailers));
  stream.end();
}

async function* saying(...values: bigint[]): AsyncGenerator<Duration> {
  for (const value of values) yield seconds(value);
}

/** Requests that come to no end, and whether their iterator was returned. */
function silence(): AsyncIterable<Duration> & { readonly returned: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    returned: promise,
    [Symbol.asyncIterator]: () => ({
      next: () => promise.then(() => ({ done: true, value: undefined })),
      return: () => {
        resolve();
        return Promise.resolve({ done: true, value: undefined });
      },
    }),
  };
}

async function collect(answers: AsyncIterable<Duration>): Promise<{ values: bigint[]; error?: ConnectError }> {
  const values: bigint[] = [];
  try {
    for await (const answer of answers) values.push(answer.seconds);
  } catch (error) {
    return { values, error: error as ConnectError };
  }
  return { values };
}

test('carries messages both ways, and the headers of gRPC', async () => {
  let seen: IncomingHttpHeaders = {};
  await using server = await start((stream, headers) => {
    seen = headers;
    const received: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => received.push(chunk));
    stream.on('end', () => {
      respond(stream);
      // In pieces that keep to no boundary.
      const bytes = Buffer.concat(received);
      for (let at = 0; at < bytes.length; at += 3) stream.write(bytes.subarray(at, at + 3));
      endWith(stream, { 'grpc-status': '0' });
    });
  });
  expect(await collect(server.call(saying(1n, 300n, 70_000n)))).toEqual({ values: [1n, 300n, 70_000n] });
  expect(seen).toMatchObject({
    ':method': 'POST',
    ':path': '/drover.test.Test/Talk',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    'x-who': 'ada',
  });
});

describe('ends with the error', () => {
  const cases: [string, Serve, { code: Code; values?: bigint[] }][] = [
    [
      'of a trailer, behind what came before it',
      (stream) => {
        respond(stream);
        stream.write(body(7n));
        endWith(stream, { 'grpc-status': '9', 'grpc-message': 'not%20now' });
      },
      { code: Code.FailedPrecondition, values: [7n] },
    ],
    [
      'of a response without a body',
      (stream) => stream.respond({ ...grpc, 'grpc-status': '16' }, { endStream: true }),
      { code: Code.Unauthenticated },
    ],
    [
      'of an HTTP status',
      (stream) => stream.respond({ ':status': 404 }, { endStream: true }),
      { code: Code.Unimplemented },
    ],
    [
      'of an answer that is no gRPC',
      (stream) => stream.respond({ ':status': 200, 'content-type': 'text/html' }, { endStream: true }),
      { code: Code.Unknown },
    ],
    [
      'of a message over the limit',
      (stream) => {
        respond(stream);
        stream.write(envelope(new Uint8Array(101)));
      },
      { code: Code.ResourceExhausted },
    ],
    [
      'of bytes that are no message',
      (stream) => {
        respond(stream);
        stream.write(envelope(Uint8Array.of(0xff)));
      },
      { code: Code.InvalidArgument },
    ],
    [
      'of an envelope that is cut off',
      (stream) => {
        respond(stream);
        stream.write(body(1n).subarray(0, 4));
        endWith(stream, { 'grpc-status': '0' });
      },
      { code: Code.InvalidArgument },
    ],
    ['of a refused stream', (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM), { code: Code.Unavailable }],
    ['of a reset', (stream) => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), { code: Code.ResourceExhausted }],
    [
      'that no status came',
      (stream) => {
        respond(stream);
        endWith(stream, {});
      },
      { code: Code.Unavailable },
    ],
  ];
  test.each(cases)('%s', async (_, serve, { code, values = [] }) => {
    await using server = await start(serve);
    const requests = silence();
    const ended = await collect(server.call(requests));
    expect(ended.error).toBeInstanceOf(ConnectError);
    expect({ code: ended.error?.code, values: ended.values }).toEqual({ code, values });
    await requests.returned;
  });
});

test('a connection that breaks is unavailable', async () => {
  await using server = await start((stream) => {
    respond(stream);
    stream.write(body(1n));
  });
  const requests = silence();
  const answers = server.call(requests);
  expect((await answers.next()).value).toMatchObject({ seconds: 1n });
  const broken = answers.next();
  server.cut();
  await expect(broken).rejects.toMatchObject({ code: Code.Unavailable });
  await requests.returned;
});

test('a server that nobody reaches is unavailable', async () => {
  const connection = new Http2SessionManager('http://127.0.0.1:1');
  await using server = await start(() => undefined);
  const requests = silence();
  expect((await collect(server.call(requests, { connection }))).error).toMatchObject({ code: Code.Unavailable });
  await requests.returned;
});

test('a message over the limit is not sent', async () => {
  let bytes = 0;
  const closed = Promise.withResolvers<number>();
  await using server = await start((stream) => {
    stream.on('data', (chunk: Buffer) => (bytes += chunk.length));
    stream.on('close', () => closed.resolve(stream.rstCode));
    respond(stream);
  });
  const ended = await collect(server.call(saying(70_000n), { writeMaxBytes: 3 }));
  expect(ended.error).toMatchObject({ code: Code.ResourceExhausted });
  await closed.promise;
  expect(bytes).toBe(0);
});

describe('resets the stream with CANCEL', () => {
  async function serveOne() {
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<number>();
    const server = await start((stream) => {
      respond(stream);
      stream.write(body(1n));
      stream.on('close', () => closed.resolve(stream.rstCode));
      opened.resolve();
    });
    return { ...server, opened: opened.promise, closed: closed.promise };
  }

  test('when the signal is aborted', async () => {
    await using server = await serveOne();
    const aborting = new AbortController();
    const requests = silence();
    const answers = server.call(requests, { signal: aborting.signal });
    await answers.next();
    const next = answers.next();
    aborting.abort();
    await expect(next).rejects.toMatchObject({ code: Code.Canceled });
    expect(await server.closed).toBe(constants.NGHTTP2_CANCEL);
    await requests.returned;
  });

  test('when the caller wants no more', async () => {
    await using server = await serveOne();
    const requests = silence();
    for await (const _ of server.call(requests)) break;
    expect(await server.closed).toBe(constants.NGHTTP2_CANCEL);
    await requests.returned;
  });
});

test('a call whose signal was aborted before opens no stream', async () => {
  let streams = 0;
  await using server = await start(() => (streams += 1));
  const requests = silence();
  const ended = await collect(server.call(requests, { signal: AbortSignal.abort() }));
  expect(ended.error).toMatchObject({ code: Code.Canceled });
  await requests.returned;
  expect(streams).toBe(0);
});
