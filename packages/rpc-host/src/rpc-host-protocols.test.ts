import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { promisify } from 'node:util';
import { fromBinary, toBinary, type DescMethod } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import { credentials, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import {
  ByteStream,
  Health,
  ServerReflection,
  ServerReflectionV1Alpha,
  type ServerReflectionResponse,
} from '@drover/standard-protocols';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { principalFrom } from './principal.ts';
import { createRpcHost, type RpcHost } from './rpc-host.ts';

let host: RpcHost;

beforeAll(async () => {
  host = createRpcHost(
    { host: '127.0.0.1', port: 0 },
    {
      principalOf: ({ header }) => (header.get('x-user') === null ? undefined : { kind: 'user', id: 'ada' }),
      isReady: () => ({ ready: false, reason: 'database away' }),
      routes: (router) =>
        router.service(ByteStream, {
          queryWriteStatus({ resourceName }, { values }) {
            return { committedSize: BigInt(resourceName.length), complete: principalFrom(values).id === 'ada' };
          },
          async *read({ resourceName }) {
            for (const character of resourceName) yield { data: Buffer.from(character) };
          },
        }),
    },
  );
  await host.start();
});
afterAll(() => host.stop({ graceMs: 0 }));

/** A call by the reference implementation of gRPC for Node, which shares no code with Connect. */
function grpcJsClient(address: string) {
  const Client = makeGenericClientConstructor({}, 'any');
  const client = new Client(address, credentials.createInsecure());
  const path = (method: DescMethod) => `/${method.parent.typeName}/${method.name}`;
  return {
    close: () => client.close(),
    unary: <M extends DescMethod>(method: M, json: object) =>
      new Promise<object>((resolve, reject) => {
        client.makeUnaryRequest(
          path(method),
          (value: object) => Buffer.from(toBinary(method.input, { $typeName: method.input.typeName, ...value })),
          (bytes) => fromBinary(method.output, bytes),
          json,
          (error: ServiceError | null, value?: object) => (error ? reject(error) : resolve(value ?? {})),
        );
      }),
    bidi: (method: DescMethod) =>
      client.makeBidiStreamRequest(
        path(method),
        (value: object) => Buffer.from(toBinary(method.input, { $typeName: method.input.typeName, ...value })),
        (bytes) => fromBinary(method.output, bytes),
      ),
  };
}

describe('a standard gRPC client on the cleartext port', () => {
  test('checks health and lists it', async () => {
    const client = grpcJsClient(`127.0.0.1:${host.address.port}`);
    expect(await client.unary(Health.method.check, { service: 'google.bytestream.ByteStream' })).toMatchObject({
      status: 1,
    });
    expect(await client.unary(Health.method.list, {})).toMatchObject({
      statuses: {
        '': { status: 1 },
        'google.bytestream.ByteStream': { status: 1 },
        'grpc.health.v1.Health': { status: 1 },
      },
    });
    await expect(client.unary(Health.method.check, { service: 'no.Such' })).rejects.toMatchObject({
      code: 5,
      details: expect.stringContaining('"no.Such"'),
    });
    client.close();
  });

  test('without credentials may not ask what there is', async () => {
    const client = grpcJsClient(`127.0.0.1:${host.address.port}`);
    const call = client.bidi(ServerReflection.method.serverReflectionInfo);
    const [error] = (await once(call, 'error')) as [ServiceError];
    expect(error).toMatchObject({ code: 16, details: expect.stringContaining('principal') });
    expect(error.metadata.get('drover-error-code')).toEqual(['UNAUTHENTICATED']);
    client.close();
  });
});

describe('buf curl', () => {
  const buf = async (...args: string[]) => {
    const run = promisify(execFile);
    const user = 'x-user: ada';
    const fixed = ['curl', '--http2-prior-knowledge', '--reflect', '--header', user, '--reflect-header', user];
    const path = `${import.meta.dirname}/../../../node_modules/.bin:${process.env.PATH}`;
    const { stdout } = await run('buf', [...fixed, ...args], { env: { ...process.env, PATH: path } });
    return stdout;
  };

  test.each(['grpc-v1', 'grpc-v1alpha'])('lists services and methods by reflection %s', async (version) => {
    const listed = await buf('--reflect-protocol', version, '--list-methods', host.url);
    expect(listed.split('\n')).toEqual(
      expect.arrayContaining([
        'google.bytestream.ByteStream/QueryWriteStatus',
        'grpc.health.v1.Health/Check',
        'grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
        'grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
      ]),
    );
  });

  test.each(['grpc', 'grpcweb', 'connect'])('calls over %s by reflection', async (protocol) => {
    const url = `${host.url}/google.bytestream.ByteStream/QueryWriteStatus`;
    const answer = await buf('--protocol', protocol, '--data', '{"resourceName":"four"}', url);
    expect(JSON.parse(answer)).toEqual({ committedSize: '4', complete: true });
  });
});

describe('HTTP/1.1 on the same port', () => {
  test('Connect with JSON, as a browser or curl calls', async () => {
    const answer = await fetch(`${host.url}/google.bytestream.ByteStream/QueryWriteStatus`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-user': 'ada' },
      body: JSON.stringify({ resourceName: 'seven77' }),
    });
    expect([answer.status, await answer.json()]).toEqual([200, { committedSize: '7', complete: true }]);
  });

  test('an error carries its code in the header and the details', async () => {
    const answer = await fetch(`${host.url}/google.bytestream.ByteStream/QueryWriteStatus`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    expect([answer.status, answer.headers.get('drover-error-code')]).toEqual([401, 'UNAUTHENTICATED']);
    expect(await answer.json()).toMatchObject({ code: 'unauthenticated', details: [{ type: 'google.rpc.ErrorInfo' }] });
  });

  test.each([
    ['gRPC-Web over HTTP/1.1', () => createGrpcWebTransport({ baseUrl: host.url, httpVersion: '1.1' })],
    ['Connect over HTTP/1.1', () => createConnectTransport({ baseUrl: host.url, httpVersion: '1.1' })],
    ['gRPC-Web over HTTP/2', () => createGrpcWebTransport({ baseUrl: host.url, httpVersion: '2' })],
    ['gRPC over HTTP/2', () => createGrpcTransport({ baseUrl: host.url })],
  ])('%s streams answers', async (_, transport) => {
    const client = createClient(ByteStream, transport());
    const parts: string[] = [];
    for await (const { data } of client.read({ resourceName: 'abc' }, { headers: { 'x-user': 'ada' } })) {
      parts.push(Buffer.from(data).toString());
    }
    expect(parts).toEqual(['a', 'b', 'c']);
  });

  test('health and readiness for operators', async () => {
    const alive = await fetch(`${host.url}/healthz`);
    expect([alive.status, await alive.json()]).toEqual([200, { alive: true }]);
    const ready = await fetch(`${host.url}/readyz`);
    expect([ready.status, await ready.json()]).toEqual([503, { ready: false, reason: 'database away' }]);
    expect((await fetch(`${host.url}/readyz`, { method: 'POST' })).status).toBe(405);
    expect((await fetch(`${host.url}/other`)).status).toBe(404);
  });
});

describe('reflection', () => {
  test.each([
    ['v1', ServerReflection],
    ['v1alpha', ServerReflectionV1Alpha],
  ])('%s answers symbols, files, and failures without ending the stream', async (_, service) => {
    const client = createClient(service, createGrpcTransport({ baseUrl: host.url }));
    const questions = [
      { case: 'fileContainingSymbol', value: 'google.bytestream.ByteStream.Read' },
      { case: 'fileContainingSymbol', value: 'grpc.health.v1.HealthListResponse' },
      { case: 'fileByFilename', value: 'grpc/health/v1/health.proto' },
      { case: 'fileContainingSymbol', value: 'no.Such' },
      { case: 'fileContainingExtension', value: { containingType: 'google.protobuf.Any', extensionNumber: 1 } },
      { case: 'allExtensionNumbersOfType', value: 'grpc.health.v1.HealthCheckRequest' },
    ] as const;
    async function* requests() {
      for (const messageRequest of questions) yield { host: 'here', messageRequest };
      yield { host: 'here' };
    }
    const answers: ServerReflectionResponse[] = [];
    for await (const answer of client.serverReflectionInfo(requests(), { headers: { 'x-user': 'ada' } })) {
      answers.push(answer as ServerReflectionResponse);
    }
    expect(answers.map(({ messageResponse }) => messageResponse.case)).toEqual([
      'fileDescriptorResponse',
      'fileDescriptorResponse',
      'fileDescriptorResponse',
      'errorResponse',
      'errorResponse',
      'allExtensionNumbersResponse',
      'errorResponse',
    ]);
    expect(answers[0]).toMatchObject({ validHost: 'here', originalRequest: { host: 'here' } });
    expect(answers[3]?.messageResponse.value).toMatchObject({ errorCode: 5 });
  });
});

describe('what a socket sends first', () => {
  const exchange = async (parts: string[]): Promise<string> => {
    const socket = connectSocket(host.address.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.setNoDelay(true);
    for (const part of parts)
      await new Promise<void>((resolve) => socket.write(part, 'latin1', () => setImmediate(resolve)));
    const [first] = (await once(socket, 'data')) as [Buffer];
    socket.destroy();
    return first.toString('latin1');
  };
  const http2Preface = [...'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\0\0\0\x04\0\0\0\0\0'];

  test('may come byte by byte', async () => {
    // A SETTINGS frame: three bytes of length, type 4.
    expect((await exchange(http2Preface)).charCodeAt(3)).toBe(4);
    expect(await exchange([...'PATCH /healthz HTTP/1.1\r\nhost: x\r\n\r\n'])).toMatch(/^HTTP\/1.1 405/);
  });

  test('may be all at once, with two requests in it', async () => {
    const request = 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n';
    expect((await exchange([http2Preface.join('')])).charCodeAt(3)).toBe(4);
    expect(await exchange([request + request])).toMatch(/^HTTP\/1.1 200/);
  });

  test('may be a request that makes no URL: 400, and the host lives', async () => {
    const path = '/google.bytestream.ByteStream/QueryWriteStatus';
    const body = 'content-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
    expect(await exchange([`POST ${path} HTTP/1.0\r\n${body}`])).toMatch(/^HTTP\/1.1 400/);
    expect(await exchange([`POST ${path} HTTP/1.1\r\nhost: [\r\n${body}`])).toMatch(/^HTTP\/1.1 400/);
    expect(await exchange(['nonsense\r\n\r\n'])).toMatch(/^HTTP\/1.1 400/);
    expect((await fetch(`${host.url}/healthz`)).status).toBe(200);
  });
});
