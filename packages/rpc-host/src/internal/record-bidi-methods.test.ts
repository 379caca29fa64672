import { createConnectRouter } from '@connectrpc/connect';
import { ByteStream, ServerReflection } from '@drover/standard-protocols';
import { expect, test } from 'vitest';
import type { BidiMethod } from './grpc-bidi-calls.ts';
import { recordBidiMethods } from './record-bidi-methods.ts';

const path = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
async function* answer(this: void): AsyncGenerator<object> {
  return;
}

function recorded(options?: object): { methods: Map<string, BidiMethod>; handlers: number } {
  const methods = new Map<string, BidiMethod>();
  const router = recordBidiMethods(createConnectRouter(), methods);
  router.service(ByteStream, {}).service(ServerReflection, { serverReflectionInfo: answer }, options);
  return { methods, handlers: router.handlers.length };
}

test('bidirectional methods are noted, and Connect has them all', () => {
  const { methods, handlers } = recorded();
  expect([...methods.keys()]).toEqual([path]);
  expect(handlers).toBe(4);
});

test('a client-streaming method is noted, and its one answer comes as a stream', async () => {
  const methods = new Map<string, BidiMethod>();
  const write = (): Promise<object> => Promise.resolve({ committedSize: 7n });
  recordBidiMethods(createConnectRouter(), methods).service(ByteStream, { write });
  expect([...methods.keys()]).toEqual(['/google.bytestream.ByteStream/Write']);
  const [{ implementation }] = [...methods.values()] as [BidiMethod];
  const answers = implementation(answer() as never, {} as never) as AsyncIterable<object>;
  const got: object[] = [];
  for await (const one of answers) got.push(one);
  expect(got).toEqual([{ committedSize: 7n }]);
});

test('the bounds of a registration go with its methods', () => {
  const { methods } = recorded({ readMaxBytes: 10, writeMaxBytes: 20, acceptCompression: [] });
  expect(methods.get(path)).toMatchObject({ readMaxBytes: 10, writeMaxBytes: 20 });
});

test('a registration with interceptors or a gate of its own is left to Connect', () => {
  expect(recorded({ interceptors: [] }).methods.size).toBe(0);
  expect(recorded({ requestGate: () => undefined }).methods.size).toBe(0);
});

test('methods on their own are noted too', () => {
  const methods = new Map<string, BidiMethod>();
  recordBidiMethods(createConnectRouter(), methods).rpc(ServerReflection.method.serverReflectionInfo, answer);
  expect([...methods.keys()]).toEqual([path]);
});
