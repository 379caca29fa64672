import { once } from 'node:events';
import { connect as connectHttp2, constants, type ClientHttp2Stream } from 'node:http2';
import { create, createFileRegistry } from '@bufbuild/protobuf';
import type { GenService } from '@bufbuild/protobuf/codegenv2';
import {
  FileDescriptorProtoSchema,
  type StringValueSchema,
  file_google_protobuf_wrappers,
} from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient, type HandlerContext, type Transport } from '@connectrpc/connect';
import { createWritableIterable } from '@connectrpc/connect/protocol';
import { compressionGzip, createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
import { DroverError } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { principalFrom } from './principal.ts';
import { createRpcHost, type RpcHost } from './rpc-host.ts';

/** `service Echo { rpc Talk(stream StringValue) returns (stream StringValue); }`, made here since no package has its like. */
type EchoService = GenService<{
  talk: { methodKind: 'bidi_streaming'; input: typeof StringValueSchema; output: typeof StringValueSchema };
}>;
const echoFile = create(FileDescriptorProtoSchema, {
  name: 'drover/test/echo.proto',
  package: 'drover.test',
  syntax: 'proto3',
  dependency: ['google/protobuf/wrappers.proto'],
  service: [
    {
      name: 'Echo',
      method: [
        {
          name: 'Talk',
          inputType: '.google.protobuf.StringValue',
          outputType: '.google.protobuf.StringValue',
          clientStreaming: true,
          serverStreaming: true,
        },
      ],
    },
  ],
});
const Echo = createFileRegistry(echoFile, () => file_google_protobuf_wrappers).getService(
  'drover.test.Echo',
) as unknown as EchoService;

const sizeMax = 1_000_000;
const seen: { contexts: HandlerContext[]; aborted: Promise<unknown>[] } = { contexts: [], aborted: [] };
let host: RpcHost;

/** Answers each message by its own; some words make it do something else. */
async function* talk(requests: AsyncIterable<{ value: string }>, context: HandlerContext) {
  seen.contexts.push(context);
  context.responseHeader.set('x-header', 'h');
  context.responseTrailer.set('x-trailer', 't');
  for await (const { value } of requests) {
    if (value === 'fail') {
      throw new DroverError({ code: 'TOLD_TO', advice: 'conflict', message: 'As told, ärgerlich.', details: { n: 1 } });
    }
    if (value === 'return') return;
    if (value === 'huge') yield { value: 'x'.repeat(sizeMax + 1) };
    if (value === 'wait') {
      const aborted = once(context.signal, 'abort').then(() => context.signal.reason as unknown);
      seen.aborted.push(aborted);
      await aborted;
      context.signal.throwIfAborted();
    }
    yield { value: value === 'who' ? principalFrom(context.values).id : `${value}!` };
  }
}

beforeAll(async () => {
  host = createRpcHost(
    { host: '127.0.0.1', port: 0, limits: { messageReceiveSizeBytesMax: sizeMax, messageSendSizeBytesMax: sizeMax } },
    {
      principalOf: ({ header }) => (header.get('x-user') === null ? undefined : { kind: 'user', id: 'ada' }),
      interceptors: [
        (next) => async (request) => {
          if (request.header.get('x-refuse') !== null) throw new ConnectError('refused', Code.Unavailable);
          return next(request);
        },
      ],
      routes: (router) => router.service(Echo, { talk }),
    },
  );
  await host.start();
});
afterAll(() => host.stop({ graceMs: 0 }));

const headers = { 'x-user': 'ada' };
async function* sending(...values: string[]) {
  for (const value of values) yield { value };
}

/** Calls with bidirectional streams go their own way for gRPC, and through Connect for the rest: one behaviour. */
describe.each<[string, () => Transport]>([
  ['gRPC', () => createGrpcTransport({ baseUrl: host.url })],
  ['gRPC with JSON', () => createGrpcTransport({ baseUrl: host.url, useBinaryFormat: false })],
  [
    'gRPC with compressed requests',
    () => createGrpcTransport({ baseUrl: host.url, sendCompression: compressionGzip, compressMinBytes: 0 }),
  ],
  ['Connect', () => createConnectTransport({ baseUrl: host.url, httpVersion: '2' })],
])('a bidirectional call over %s', (_, transport) => {
  const call = (values: AsyncIterable<{ value: string }>, options = {}) =>
    createClient(Echo, transport()).talk(values, { headers, ...options });
  const collect = async (answers: AsyncIterable<{ value: string }>) => {
    const values: string[] = [];
    for await (const { value } of answers) values.push(value);
    return values;
  };
  const failure = (answers: AsyncIterable<{ value: string }>) => collect(answers).then(String, droverErrorFromConnect);

  test('answers while it is asked', async () => {
    const requests = createWritableIterable<{ value: string }>();
    const answers = call(requests)[Symbol.asyncIterator]();
    for (const value of ['one', 'two', 'who']) {
      const answer = answers.next();
      await requests.write({ value });
      expect((await answer).value?.value).toBe(value === 'who' ? 'ada' : `${value}!`);
    }
    requests.close();
    expect((await answers.next()).done).toBe(true);
  });

  test('carries headers and trailers', async () => {
    const received: Record<string, string | null> = {};
    const onHeader = (header: Headers) => (received.header = header.get('x-header'));
    const onTrailer = (trailer: Headers) => (received.trailer = trailer.get('x-trailer'));
    expect(await collect(call(sending(), { onHeader, onTrailer }))).toEqual([]);
    expect(received).toEqual({ header: 'h', trailer: 't' });
    expect(seen.contexts.at(-1)?.requestHeader.get('x-user')).toBe('ada');
    expect(seen.contexts.at(-1)?.url).toBe(`${host.url}/drover.test.Echo/Talk`);
  });

  test('keeps order and content of many and of large messages', async () => {
    const values = Array.from({ length: 2000 }, (_, index) => String(index));
    values.push('ä'.repeat(sizeMax / 2 - 100), 'last');
    expect(await collect(call(sending(...values)))).toEqual(values.map((value) => `${value}!`));
  });

  test('ends with the error of its handler, after what was answered before', async () => {
    const values: string[] = [];
    const error = await (async () => {
      for await (const { value } of call(sending('one', 'fail', 'two'))) values.push(value);
    })().catch(droverErrorFromConnect);
    expect(values).toEqual(['one!']);
    expect(error).toMatchObject({
      code: 'TOLD_TO',
      advice: 'conflict',
      message: 'As told, ärgerlich.',
      details: { n: 1 },
    });
  });

  test('ends when its handler returns, though the caller goes on', async () => {
    async function* endless() {
      yield { value: 'return' };
      for (;;) {
        yield { value: 'more' };
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    expect(await collect(call(endless()))).toEqual([]);
  });

  test('needs a principal, and its interceptors', async () => {
    expect(await failure(call(sending('x'), { headers: {} }))).toMatchObject({ code: 'UNAUTHENTICATED' });
    const refused = { ...headers, 'x-refuse': '1' };
    expect(await failure(call(sending('x'), { headers: refused }))).toMatchObject({ code: 'RPC_UNAVAILABLE' });
  });

  test('bounds messages both ways', async () => {
    const tooLarge = { code: 'MESSAGE_TOO_LARGE' };
    expect(await failure(call(sending('x'.repeat(sizeMax + 1))))).toMatchObject(tooLarge);
    expect(await failure(call(sending('huge')))).toMatchObject(tooLarge);
  });

  test('tells its handler when the caller goes away, or the deadline passes', async () => {
    const before = seen.aborted.length;
    const abort = new AbortController();
    const left = failure(call(sending('wait'), { signal: abort.signal }));
    await expect.poll(() => seen.aborted.length).toBe(before + 1);
    abort.abort();
    expect(await left).toMatchObject({ code: 'RPC_CANCELED' });
    expect(ConnectError.from(await seen.aborted[before]).code).toBe(Code.Canceled);

    expect(await failure(call(sending('wait'), { timeoutMs: 1000 }))).toMatchObject({ code: 'RPC_DEADLINE_EXCEEDED' });
    await expect.poll(() => seen.aborted.length).toBe(before + 2);
    await seen.aborted[before + 1];
  });
});

describe('a broken gRPC stream', () => {
  const statusOf = async (write: (stream: ClientHttp2Stream) => void, more: Record<string, string> = {}) => {
    const session = connectHttp2(host.url);
    const stream = session.request({
      ':method': 'POST',
      ':path': '/drover.test.Echo/Talk',
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
      ...more,
    });
    stream.on('error', () => undefined).resume();
    write(stream);
    const [trailers] = (await once(stream, 'trailers')) as [Record<string, string>];
    session.destroy();
    return trailers['grpc-status'];
  };

  test.each([
    ['a compressed envelope', [1, 0, 0, 0, 0]],
    ['a message that is none', [0, 0, 0, 0, 2, 0xff, 0xff]],
    ['an end within an envelope', [0, 0, 0, 0, 9, 1]],
    ['an end within a prefix', [0, 0]],
  ])('%s is INVALID_ARGUMENT', async (_, bytes) => {
    expect(await statusOf((stream) => stream.end(Buffer.from(bytes)))).toBe(String(Code.InvalidArgument));
  });

  test('an envelope may come byte by byte', async () => {
    const bytes = [0, 0, 0, 0, 3, 0x0a, 1, 0x61];
    expect(
      await statusOf((stream) => {
        for (const byte of bytes) stream.write(Buffer.from([byte]));
        stream.end();
      }),
    ).toBe('0');
  });

  test.each(['1', 'soon', '99999999H'])('the deadline %j is INVALID_ARGUMENT', async (timeout) => {
    expect(await statusOf((stream) => stream.end(), { 'grpc-timeout': timeout })).toBe(String(Code.InvalidArgument));
  });

  test('a reset aborts the handler and harms nobody else', async () => {
    const before = seen.aborted.length;
    const session = connectHttp2(host.url);
    const path = { ':method': 'POST', ':path': '/drover.test.Echo/Talk', 'content-type': 'application/grpc+proto' };
    const stream = session.request({ ...path, ...headers });
    stream.on('error', () => undefined);
    stream.write(Buffer.from([0, 0, 0, 0, 6, 0x0a, 4, ...Buffer.from('wait')]));
    await expect.poll(() => seen.aborted.length).toBe(before + 1);
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    await seen.aborted[before];
    expect((await fetch(`${host.url}/healthz`)).status).toBe(200);
    session.destroy();
  });
});
