import {
  create,
  fromBinary,
  toBinary,
  type DescMethod,
  type DescService,
  type MessageInitShape,
} from '@bufbuild/protobuf';
import { createContextKey, createContextValues, createClient, ConnectError, Code } from '@connectrpc/connect';
import { connectNodeAdapter, createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import {
  createMemoryContentStore,
  digestOfBytes,
  zstdCompressBytes,
  zstdDecompressBytes,
  type Digest,
  type LocalContentStore,
} from '@drover/content-store';
import { sampleBytes, sampleText } from '@drover/content-store/testing';
import type { Principal } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import {
  ByteStream,
  Capabilities,
  Compressor_Value,
  ContentAddressableStorage,
  DigestFunction_Value,
  DirectorySchema,
  ErrorInfoSchema,
  StatusSchema,
  type BatchReadBlobsResponse,
  type BatchUpdateBlobsResponse,
  type Directory,
  type FindMissingBlobsResponse,
  type GetTreeResponse,
  type QueryWriteStatusResponse,
  type ReadResponse,
  type ServerCapabilities,
  type WriteRequestSchema,
  type WriteResponse,
} from '@drover/standard-protocols';
import * as grpc from '@grpc/grpc-js';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { registerContentService, type ContentServiceLimits } from './index.ts';

const principalKey = createContextKey<Principal | undefined>(undefined);
const mebibyte = 1024 * 1024;

let store: LocalContentStore;
let clock: ManualClock;
let address: string;
let closeServer: () => Promise<void>;
let client: grpc.Client;

async function start(limits: ContentServiceLimits = {}): Promise<void> {
  store = createMemoryContentStore({ sizeBytesMax: 32 * mebibyte });
  clock = new ManualClock();
  const sessions = new Set<http2.ServerHttp2Session>();
  const handler = connectNodeAdapter({
    routes: (router) =>
      registerContentService(
        router,
        {
          store,
          clock,
          principalOf: ({ values }) => {
            const principal = values.get(principalKey);
            if (principal === undefined) throw new ConnectError('who are you?', Code.Unauthenticated);
            return principal;
          },
        },
        limits,
      ),
    contextValues: ({ headers }) => {
      const id = headers['x-test-user'];
      return createContextValues().set(principalKey, typeof id === 'string' ? { kind: 'user', id } : undefined);
    },
  });
  const server = http2.createServer(handler);
  server.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = new grpc.Client(address, grpc.credentials.createInsecure());
  closeServer = async () => {
    client.close();
    for (const session of sessions) session.destroy();
    server.close();
    await once(server, 'close');
  };
}

beforeEach(() => start());
afterEach(() => closeServer());

// A gRPC client as any language has it: method paths, and functions that encode and decode.
const path = (method: DescMethod): string => `/${(method.parent as DescService).typeName}/${method.name}`;
const encode =
  (method: DescMethod) =>
  (message: object): Buffer =>
    Buffer.from(toBinary(method.input, create(method.input, message as never)));
const decode =
  (method: DescMethod) =>
  (bytes: Buffer): never =>
    fromBinary(method.output, bytes) as never;
const as = (user: string): grpc.Metadata => {
  const metadata = new grpc.Metadata();
  metadata.set('x-test-user', user);
  return metadata;
};

function call<Response>(method: DescMethod, request: object, metadata = as('anna')): Promise<Response> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path(method), encode(method), decode(method), request, metadata, (error, response) =>
      error ? reject(error) : resolve(response!),
    );
  });
}
async function stream<Response>(method: DescMethod, request: object): Promise<Response[]> {
  const responses: Response[] = [];
  const reading = client.makeServerStreamRequest(path(method), encode(method), decode(method), request, as('anna'));
  for await (const response of reading) responses.push(response as Response);
  return responses;
}
interface Writing {
  readonly call: grpc.ClientWritableStream<object>;
  readonly response: Promise<WriteResponse>;
}
function openWrite(user = 'anna'): Writing {
  const { promise, resolve, reject } = Promise.withResolvers<WriteResponse>();
  const method = ByteStream.method.write;
  const writing = client.makeClientStreamRequest(
    path(method),
    encode(method),
    decode(method),
    as(user),
    (error: grpc.ServiceError | null, response?: WriteResponse) => (error ? reject(error) : resolve(response!)),
  );
  promise.catch(() => undefined);
  return { call: writing, response: promise };
}
function write(...requests: MessageInitShape<typeof WriteRequestSchema>[]): Promise<WriteResponse> {
  const { call: writing, response } = openWrite();
  for (const request of requests) writing.write(request);
  writing.end();
  return response;
}
const find = (digests: object[]): Promise<FindMissingBlobsResponse> =>
  call(ContentAddressableStorage.method.findMissingBlobs, { blobDigests: digests });
const status = (resourceName: string, user = 'anna'): Promise<QueryWriteStatusResponse> =>
  call(ByteStream.method.queryWriteStatus, { resourceName }, as(user));
const read = async (request: object): Promise<Buffer> =>
  Buffer.concat((await stream<ReadResponse>(ByteStream.method.read, request)).map(({ data }) => data));
const wire = (digest: Digest): { hash: string; sizeBytes: bigint } => ({
  hash: digest.hash,
  sizeBytes: BigInt(digest.sizeBytes),
});
const nameOf = (digest: Digest): string => `${digest.hash}/${digest.sizeBytes}`;
const uploadName = (digest: Digest, id = 'e9b1'): string => `main/uploads/${id}/blobs/${nameOf(digest)}`;
const zstdUploadName = (digest: Digest): string => `uploads/e9b1/compressed-blobs/zstd/${nameOf(digest)}`;
const failsWith = (promise: Promise<unknown>, code: grpc.status): Promise<void> =>
  expect(promise).rejects.toMatchObject({ code });

const bytes = sampleBytes(700_000, 1);
const digest = digestOfBytes(bytes);
const text = sampleText(700_000);
const textDigest = digestOfBytes(text);

describe('a standard gRPC client', () => {
  test('reads the capabilities', async () => {
    const { cacheCapabilities, executionCapabilities, lowApiVersion, highApiVersion } = await call<ServerCapabilities>(
      Capabilities.method.getCapabilities,
      { instanceName: 'main' },
    );
    expect(cacheCapabilities).toMatchObject({
      digestFunctions: [DigestFunction_Value.SHA256],
      maxBatchTotalSizeBytes: BigInt(3 * mebibyte),
      maxCasBlobSizeBytes: BigInt(32 * mebibyte),
      supportedCompressors: [Compressor_Value.ZSTD],
      supportedBatchUpdateCompressors: [Compressor_Value.ZSTD],
      splitBlobSupport: false,
    });
    expect(executionCapabilities).toBeUndefined();
    expect([lowApiVersion?.major, highApiVersion?.major]).toEqual([2, 2]);
  });

  test('uploads and downloads in batches, each blob with its own status', async () => {
    const small = sampleBytes(1000, 2);
    const packed = await zstdCompressBytes(text);
    const good = wire(digestOfBytes(small));
    const { responses } = await call<BatchUpdateBlobsResponse>(ContentAddressableStorage.method.batchUpdateBlobs, {
      requests: [
        { digest: good, data: small },
        { digest: wire(textDigest), data: packed, compressor: Compressor_Value.ZSTD },
        { digest: wire(digest), data: bytes.subarray(1) },
        { digest: { hash: 'x', sizeBytes: 1n }, data: small },
        { digest: good, data: packed, compressor: Compressor_Value.ZSTD },
        { digest: good, data: small, compressor: Compressor_Value.BROTLI },
        { digest: good, data: small, compressor: Compressor_Value.ZSTD },
      ],
    });
    expect(responses.map((response) => response.status?.code)).toEqual([0, 0, 3, 3, 3, 12, 3]);
    const info = fromBinary(ErrorInfoSchema, responses[2]!.status!.details[0]!.value);
    expect(info).toMatchObject({ reason: 'DIGEST_MISMATCH', domain: 'drover' });
    expect((await find([good, wire(textDigest), wire(digest), wire(digest)])).missingBlobDigests).toHaveLength(1);

    for (const acceptableCompressors of [[], [Compressor_Value.ZSTD]]) {
      const answer = await call<BatchReadBlobsResponse>(ContentAddressableStorage.method.batchReadBlobs, {
        digests: [good, wire(digest), wire(textDigest)],
        acceptableCompressors,
      });
      expect(answer.responses.map((response) => response.status?.code)).toEqual([0, 5, 0]);
      expect(Buffer.compare(answer.responses[0]!.data, small)).toBe(0);
      const { data, compressor } = answer.responses[2]!;
      expect(compressor).toBe(acceptableCompressors[0] ?? Compressor_Value.IDENTITY);
      const plain = compressor === Compressor_Value.ZSTD ? await zstdDecompressBytes(data, text.length) : data;
      expect(digestOfBytes(plain)).toEqual(textDigest);
    }
  });

  test('writes and reads a stream', async () => {
    const resourceName = uploadName(digest);
    const { committedSize } = await write(
      { resourceName, data: bytes.subarray(0, 300_000) },
      { writeOffset: 300_000n, data: bytes.subarray(300_000, 600_000) },
      { resourceName, writeOffset: 600_000n, data: bytes.subarray(600_000), finishWrite: true },
    );
    expect(committedSize).toBe(700_000n);
    expect(await status(resourceName)).toMatchObject({ committedSize: 700_000n, complete: true });
    const name = `main/blobs/${nameOf(digest)}`;
    expect(Buffer.compare(await read({ resourceName: name }), bytes)).toBe(0);
    const part = await read({ resourceName: name, readOffset: 5n, readLimit: 400_000n });
    expect(Buffer.compare(part, bytes.subarray(5, 400_005))).toBe(0);
    expect(await read({ resourceName: name, readOffset: 700_000n })).toHaveLength(0);
    const packed = await read({ resourceName: `compressed-blobs/zstd/${nameOf(digest)}`, readOffset: 9n });
    expect(Buffer.compare(await zstdDecompressBytes(packed, bytes.length), bytes.subarray(9))).toBe(0);
  });

  test('goes on with a broken write where it stopped', async () => {
    const resourceName = uploadName(digest);
    await failsWith(status(resourceName), grpc.status.NOT_FOUND);
    const broken = openWrite();
    broken.call.write({ resourceName, data: bytes.subarray(0, 250_000) });
    await vi.waitFor(async () => expect((await status(resourceName)).committedSize).toBe(250_000n));
    broken.call.cancel();
    await failsWith(broken.response, grpc.status.CANCELLED);
    expect(await status(resourceName)).toMatchObject({ committedSize: 250_000n, complete: false });

    const wrong = write({ resourceName, writeOffset: 250_001n, data: bytes.subarray(250_001), finishWrite: true });
    await failsWith(wrong, grpc.status.INVALID_ARGUMENT);
    // Without finish_write the service keeps what came and says how much that is.
    // And what it has already it skips.
    const half = await write({ resourceName, writeOffset: 240_000n, data: bytes.subarray(240_000, 400_000) });
    expect(half.committedSize).toBe(400_000n);
    expect((await find([wire(digest)])).missingBlobDigests).toHaveLength(1);
    const rest = { resourceName, writeOffset: 400_000n, data: bytes.subarray(400_000), finishWrite: true };
    expect((await write(rest)).committedSize).toBe(700_000n);
    expect((await find([wire(digest)])).missingBlobDigests).toEqual([]);
  });

  test('may begin a broken write again', async () => {
    const resourceName = uploadName(digest);
    await write({ resourceName, data: bytes.subarray(0, 250_000) });
    const { committedSize } = await write({ resourceName, data: bytes, finishWrite: true });
    expect(committedSize).toBe(700_000n);
  });

  test('writes compressed, in parts, and may stop inside a frame', async () => {
    const resourceName = zstdUploadName(textDigest);
    const head = await zstdCompressBytes(text.subarray(0, 300_000));
    const tail = await zstdCompressBytes(text.subarray(300_000));
    const stopped = openWrite();
    stopped.call.write({ resourceName, data: head });
    await vi.waitFor(async () => expect((await status(resourceName)).committedSize).toBe(300_000n));
    stopped.call.write({ writeOffset: BigInt(head.length), data: tail.subarray(0, 5) });
    stopped.call.end();
    const committed = Number((await stopped.response).committedSize);
    expect(committed).toBe(300_000); // counted uncompressed, as the offset to go on at is
    const { committedSize } = await write(
      { resourceName, writeOffset: BigInt(committed), data: tail.subarray(0, 10) },
      { writeOffset: BigInt(committed + 10), data: tail.subarray(10), finishWrite: true },
    );
    expect(committedSize).toBe(BigInt(300_000 + tail.length)); // offset plus compressed bytes, as the standard counts
    expect((await find([wire(textDigest)])).missingBlobDigests).toEqual([]);
  });

  test('is told at once that the blob is there already', async () => {
    await store.write(digest, bytes);
    for (const [resourceName, committedSize] of [
      [uploadName(digest), 700_000n],
      [zstdUploadName(digest), -1n],
    ] as const) {
      const early = openWrite();
      early.call.write({ resourceName, data: bytes.subarray(0, 10) }); // and never more
      expect((await early.response).committedSize).toBe(committedSize);
    }
  });

  test('walks a tree, in pages', async () => {
    const directories: Directory[] = [];
    let child: Digest | undefined;
    for (let depth = 0; depth < 7; depth++) {
      const names = child === undefined ? [] : [{ name: `d${depth}`, digest: wire(child) }];
      const directory = create(DirectorySchema, { directories: names });
      const encoded = toBinary(DirectorySchema, directory);
      child = digestOfBytes(encoded);
      await store.write(child, encoded);
      directories.unshift(directory);
    }
    const method = ContentAddressableStorage.method.getTree;
    const rootDigest = wire(child!);
    const all = await stream<GetTreeResponse>(method, { rootDigest });
    expect(all.flatMap((page) => page.directories)).toEqual(directories);
    expect(all.at(-1)!.nextPageToken).toBe('');
    const pages = await stream<GetTreeResponse>(method, { rootDigest, pageSize: 3 });
    expect(pages.map((page) => page.directories.length)).toEqual([3, 3, 1]);
    const resumed = await stream<GetTreeResponse>(method, { rootDigest, pageToken: pages[0]!.nextPageToken });
    expect(resumed.flatMap((page) => page.directories)).toEqual(directories.slice(3));
    await failsWith(stream(method, { rootDigest, pageToken: 'x' }), grpc.status.INVALID_ARGUMENT);
    await failsWith(stream(method, { rootDigest: wire(digest) }), grpc.status.NOT_FOUND);
  });
});

describe('what is wrong gets the standard code', () => {
  const { NOT_FOUND, INVALID_ARGUMENT, OUT_OF_RANGE, UNIMPLEMENTED } = grpc.status;
  const sha1 = 'a'.repeat(40);

  test('reads', async () => {
    await store.write(digest, bytes);
    const there = `blobs/${nameOf(digest)}`;
    const absent = `blobs/${nameOf(textDigest)}`;
    const zstd = `compressed-blobs/zstd/${nameOf(digest)}`;
    await failsWith(read({ resourceName: absent }), NOT_FOUND);
    await failsWith(read({ resourceName: `compressed-blobs/zstd/${nameOf(textDigest)}` }), NOT_FOUND);
    await failsWith(read({ resourceName: there, readOffset: 700_001n }), OUT_OF_RANGE);
    await failsWith(read({ resourceName: there, readOffset: -1n }), OUT_OF_RANGE);
    await failsWith(read({ resourceName: there, readLimit: -1n }), INVALID_ARGUMENT);
    await failsWith(read({ resourceName: zstd, readLimit: 5n }), INVALID_ARGUMENT);
    await failsWith(read({ resourceName: `compressed-blobs/brotli/${nameOf(digest)}` }), UNIMPLEMENTED);
    await failsWith(read({ resourceName: `blobs/${sha1}/5` }), UNIMPLEMENTED);
    await failsWith(read({ resourceName: `blobs/blake3/${nameOf(digest)}` }), UNIMPLEMENTED);
    for (const name of [
      '',
      'x',
      'blobs',
      `blobs/${digest.hash}`,
      `blobs/../5`,
      `blobs/${digest.hash}/-5`,
      uploadName(digest),
    ]) {
      await failsWith(read({ resourceName: name }), INVALID_ARGUMENT);
    }
  });

  test('writes', async () => {
    const resourceName = uploadName(digest);
    const whole = { resourceName, data: bytes, finishWrite: true };
    const changed = Uint8Array.from(bytes);
    changed[0]! ^= 1;
    await failsWith(write({ ...whole, data: changed }), INVALID_ARGUMENT);
    await failsWith(write({ ...whole, data: bytes.subarray(1) }), INVALID_ARGUMENT);
    await failsWith(write({ ...whole, data: Buffer.concat([bytes, bytes]) }), INVALID_ARGUMENT);
    await failsWith(write({ ...whole, resourceName: zstdUploadName(digest) }), INVALID_ARGUMENT);
    await failsWith(write(whole, { writeOffset: 700_000n }), INVALID_ARGUMENT);
    await failsWith(write({ resourceName, data: bytes }, { writeOffset: 5n, finishWrite: true }), INVALID_ARGUMENT);
    await failsWith(
      write({ resourceName, data: bytes }, { resourceName: 'other', writeOffset: 700_000n }),
      INVALID_ARGUMENT,
    );
    await failsWith(write(), INVALID_ARGUMENT);
    await failsWith(write({ ...whole, resourceName: `blobs/${nameOf(digest)}` }), INVALID_ARGUMENT);
    await failsWith(write({ ...whole, resourceName: `uploads/u/blobs/${sha1}/5` }), UNIMPLEMENTED);
    const huge = `uploads/u/blobs/${digest.hash}/${33 * mebibyte}`;
    await failsWith(write({ ...whole, resourceName: huge }), INVALID_ARGUMENT);
    expect((await find([wire(digest)])).missingBlobDigests).toHaveLength(1);
    const bomb = await zstdCompressBytes(new Uint8Array(20 * mebibyte));
    await failsWith(write({ resourceName: zstdUploadName(digest), data: bomb, finishWrite: true }), INVALID_ARGUMENT);
    // What follows the size belongs to the client.
    expect((await write({ ...whole, resourceName: `${resourceName}/a/b` })).committedSize).toBe(700_000n);
  });

  test('batches and questions', async () => {
    const { findMissingBlobs, batchReadBlobs, batchUpdateBlobs } = ContentAddressableStorage.method;
    const sha512 = { digestFunction: DigestFunction_Value.SHA512 };
    await failsWith(call(findMissingBlobs, { ...sha512, blobDigests: [] }), UNIMPLEMENTED);
    await failsWith(find([{ hash: sha1, sizeBytes: 5n }]), UNIMPLEMENTED);
    await failsWith(find([{ hash: 'zz', sizeBytes: 5n }]), INVALID_ARGUMENT);
    const tooMuch = { digests: [wire(digestOfBytes(sampleBytes(3 * mebibyte + 1)))] };
    await failsWith(call(batchReadBlobs, tooMuch), INVALID_ARGUMENT);
    const large = [{ digest: { hash: digest.hash, sizeBytes: BigInt(4 * mebibyte) }, data: bytes }];
    await failsWith(call(batchUpdateBlobs, { requests: large }), INVALID_ARGUMENT);
    await failsWith(status('uploads/nobody/blobs/x/1'), INVALID_ARGUMENT);
  });

  test('a store without room', async () => {
    const filling = sampleBytes(32 * mebibyte - 100_000, 9);
    await store.write(digestOfBytes(filling), filling);
    await store.pin([digestOfBytes(filling)], { owner: 'lease:1' });
    const resourceName = uploadName(digest);
    await failsWith(write({ resourceName, data: bytes, finishWrite: true }), grpc.status.RESOURCE_EXHAUSTED);
    const { responses } = await call<BatchUpdateBlobsResponse>(ContentAddressableStorage.method.batchUpdateBlobs, {
      requests: [{ digest: wire(digest), data: bytes }],
    });
    expect(responses[0]!.status?.code).toBe(grpc.status.RESOURCE_EXHAUSTED);
  });
});

describe('who calls, and how much', () => {
  test('every method asks for the principal first', async () => {
    const none = new grpc.Metadata();
    const cas = ContentAddressableStorage.method;
    const unary = [cas.findMissingBlobs, cas.batchUpdateBlobs, cas.batchReadBlobs, Capabilities.method.getCapabilities];
    for (const method of [...unary, ByteStream.method.queryWriteStatus]) {
      await failsWith(call(method, {}, none), grpc.status.UNAUTHENTICATED);
    }
    for (const method of [cas.getTree, ByteStream.method.read]) {
      const reading = client.makeServerStreamRequest(path(method), encode(method), decode(method), {}, none);
      await failsWith(reading.toArray(), grpc.status.UNAUTHENTICATED);
    }
  });

  test('nobody can go on with the upload of another', async () => {
    const resourceName = uploadName(digest);
    await write({ resourceName, data: bytes.subarray(0, 1000) });
    expect((await status(resourceName)).committedSize).toBe(1000n);
    await failsWith(status(resourceName, 'bert'), grpc.status.NOT_FOUND);
  });

  test('writes are bounded for each principal and in all', async () => {
    await closeServer();
    await start({ concurrentWritesMax: 3, concurrentWritesPerPrincipalMax: 2 });
    const open = async (user: string, id: string): Promise<Writing> => {
      const writing = openWrite(user);
      writing.call.write({ resourceName: uploadName(digest, id), data: bytes.subarray(0, 10) });
      await vi.waitFor(() => status(uploadName(digest, id), user));
      return writing;
    };
    const mine = [await open('anna', '1'), await open('anna', '2')];
    await failsWith(write({ resourceName: uploadName(digest, '3') }), grpc.status.RESOURCE_EXHAUSTED);
    const other = await open('bert', '4');
    const third = openWrite('carl');
    third.call.end();
    await failsWith(third.response, grpc.status.RESOURCE_EXHAUSTED);
    for (const { call: writing, response } of [...mine, other]) {
      writing.end();
      expect((await response).committedSize).toBe(10n);
    }
    await write({ resourceName: uploadName(digest, '3'), data: bytes, finishWrite: true });
  });

  test('a write that sends nothing is ended, and can go on', async () => {
    const resourceName = uploadName(digest);
    const silent = openWrite();
    silent.call.write({ resourceName, data: bytes.subarray(0, 1000) });
    await vi.waitFor(async () => expect((await status(resourceName)).committedSize).toBe(1000n));
    clock.advance(60_000);
    await failsWith(silent.response, grpc.status.DEADLINE_EXCEEDED);
    expect((await status(resourceName)).committedSize).toBe(1000n);
    expect(clock.pendingCalls).toBe(0);
  });

  test('a message above the limit is refused, and the connection lives on', async () => {
    const data = new Uint8Array(4 * mebibyte + 1000);
    const requests = [{ digest: wire(digest), data }];
    const method = ContentAddressableStorage.method.batchUpdateBlobs;
    await failsWith(call(method, { requests }), grpc.status.RESOURCE_EXHAUSTED);
    expect((await find([wire(digest)])).missingBlobDigests).toHaveLength(1);
  });
});

test('an unforeseen failure tells nothing of the inside', async () => {
  vi.spyOn(store, 'findMissing').mockRejectedValueOnce(new Error('/secret/place broke'));
  const failure = await find([wire(digest)]).catch((error: unknown) => error as grpc.ServiceError);
  expect(failure).toMatchObject({ code: grpc.status.INTERNAL, details: 'internal error' });
});

test('an error carries its Drover code for programs', async () => {
  const failure = await read({ resourceName: `blobs/${nameOf(digest)}` }).catch((error: unknown) => error);
  const [packed] = (failure as grpc.ServiceError).metadata.get('grpc-status-details-bin');
  const { details } = fromBinary(StatusSchema, packed as Buffer);
  expect(fromBinary(ErrorInfoSchema, details[0]!.value)).toMatchObject({ reason: 'BLOB_NOT_FOUND', domain: 'drover' });
});

test.each([
  ['Connect', createConnectTransport],
  ['gRPC-Web', createGrpcWebTransport],
])('%s clients are answered too', async (_name, createTransport) => {
  await store.write(digest, bytes);
  const transport = createTransport({ baseUrl: `http://${address}`, httpVersion: '2' });
  const headers = { 'x-test-user': 'anna' };
  const chunks: Uint8Array[] = [];
  for await (const { data } of createClient(ByteStream, transport).read(
    { resourceName: `blobs/${nameOf(digest)}` },
    { headers },
  )) {
    chunks.push(data);
  }
  expect(Buffer.compare(Buffer.concat(chunks), bytes)).toBe(0);
});
