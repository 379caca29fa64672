import { createContextValues, createContextKey, type Interceptor } from '@connectrpc/connect';
import { connectNodeAdapter, createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
// The other end of the wire is what is tested against here; nothing of it is in the package.
import { registerContentService, type ContentServiceLimits } from '@drover/content-service';
import { createDiskContentStore } from '@drover/content-store-disk';
import {
  collectBytes,
  digestOfBytes,
  materializeTree,
  storeTree,
  type ContentStore,
  type LocalContentStore,
} from '@drover/content-store';
import { contentStoreCases, sampleBytes, sampleText } from '@drover/content-store/testing';
import type { Principal } from '@drover/lease-kit';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import http2 from 'node:http2';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRemoteContentStore, type RemoteContentStoreOptions } from './index.ts';

const mebibyte = 1024 * 1024;
const principalKey = createContextKey<Principal>({ kind: 'service', id: 'test' });

let directory: string;
let server: ContentServer;
let proxy: CuttingProxy;
let calls: string[];

interface ContentServer extends AsyncDisposable {
  readonly port: number;
  readonly store: LocalContentStore;
}

async function startServer(limits: ContentServiceLimits = {}): Promise<ContentServer> {
  const store = await createDiskContentStore({ directory: join(directory, 'store'), sizeBytesMax: 256 * mebibyte });
  const principalOf = ({ values }: { values: { get(key: typeof principalKey): Principal } }): Principal =>
    values.get(principalKey);
  const listener = http2.createServer(
    connectNodeAdapter({
      routes: (router) => registerContentService(router, { store, principalOf }, limits),
      contextValues: () => createContextValues(),
    }),
  );
  const sessions = new Set<http2.ServerHttp2Session>();
  listener.on('session', (session) => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    port: (listener.address() as AddressInfo).port,
    store,
    async [Symbol.asyncDispose]() {
      for (const session of sessions) session.destroy();
      listener.close();
      await once(listener, 'close');
      await store[Symbol.asyncDispose]();
    },
  };
}

/** Stands between client and server, counts bytes, and cuts connections. */
class CuttingProxy implements AsyncDisposable {
  targetPort = 0;
  upBytes = 0;
  downBytes = 0;
  /** Cuts the connection whenever this many further bytes have passed in the one direction; absent never cuts. */
  cutEveryUp: number | undefined;
  cutEveryDown: number | undefined;
  cutsLeft = 0;
  cuts = 0;
  /** Runs at each cut, before a new connection is let through. */
  onCut: () => Promise<void> = async () => undefined;
  #ready: Promise<void> = Promise.resolve();
  readonly #sockets = new Set<net.Socket>();
  readonly #server = net.createServer({ noDelay: true }, (client) => void this.#connect(client));

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async #connect(client: net.Socket): Promise<void> {
    client.on('error', () => undefined);
    this.#sockets.add(client);
    await this.#ready;
    const upstream = net.connect({ port: this.targetPort, host: '127.0.0.1', noDelay: true });
    upstream.on('error', () => undefined);
    this.#sockets.add(upstream);
    let up = 0;
    let down = 0;
    const cut = (): void => {
      if (this.cutsLeft === 0) return;
      this.cutsLeft--;
      this.cuts++;
      this.#ready = this.onCut();
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (chunk) => {
      this.upBytes += chunk.byteLength;
      up += chunk.byteLength;
      if (!upstream.write(chunk)) client.pause();
      if (this.cutEveryUp !== undefined && up >= this.cutEveryUp) cut();
    });
    upstream.on('drain', () => client.resume());
    upstream.on('data', (chunk) => {
      this.downBytes += chunk.byteLength;
      down += chunk.byteLength;
      if (!client.write(chunk)) upstream.pause();
      if (this.cutEveryDown !== undefined && down >= this.cutEveryDown) cut();
    });
    client.on('drain', () => upstream.resume());
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function openRemote(options: RemoteContentStoreOptions = {}, protocol: 'grpc' | 'connect' = 'grpc'): ContentStore {
  const count: Interceptor = (next) => (request) => {
    calls.push(request.method.name);
    return next(request);
  };
  const common = { baseUrl: `http://127.0.0.1:${proxy.port}`, interceptors: [count] };
  const transport =
    protocol === 'grpc' ? createGrpcTransport(common) : createConnectTransport({ ...common, httpVersion: '2' });
  return createRemoteContentStore({ backOffMs: 1, ...options }, { transport });
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drover-remote-'));
  server = await startServer();
  proxy = new CuttingProxy();
  await proxy.start();
  proxy.targetPort = server.port;
  calls = [];
});
afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

describe('the remote store over gRPC', () => {
  test.each(contentStoreCases)('$name', ({ run }) => run(openRemote()));
});
describe('the remote store over the Connect protocol, without compression and with an instance name', () => {
  const options = { compression: 'never', instanceName: 'a/b' } as const;
  test.each(contentStoreCases)('$name', ({ run }) => run(openRemote(options, 'connect')));
});

const chunked = (bytes: Uint8Array) =>
  async function* (offset: number): AsyncGenerator<Uint8Array> {
    for (let at = offset; at < bytes.byteLength; at += 100_000) yield bytes.subarray(at, at + 100_000);
  };
const big = sampleBytes(8 * mebibyte, 1);
const bigDigest = digestOfBytes(big);
const bigText = sampleText(8 * mebibyte);
const bigTextDigest = digestOfBytes(bigText);
const isThere = async (bytes: Uint8Array): Promise<boolean> => {
  const digest = digestOfBytes(bytes);
  return digestOfBytes(await collectBytes(server.store.read(digest), bytes.byteLength)).hash === digest.hash;
};

describe('when the connection is cut', () => {
  test.each([
    ['bytes', big],
    ['a function', chunked(big)],
    ['a stream that can be read once', chunked(big)(0)],
  ])('a write of %s goes on where it stopped', async (_name, source) => {
    proxy.cutEveryUp = 2 * mebibyte;
    proxy.cutsLeft = 3;
    await openRemote().write(bigDigest, source);
    expect(proxy.cuts).toBe(3);
    expect(await isThere(big)).toBe(true);
    // Sent once, and what was on its way at each cut.
    expect(proxy.upBytes).toBeLessThan(big.byteLength + 3 * mebibyte);
    expect(calls.filter((name) => name === 'Write')).toHaveLength(4);
  });

  test('a compressed write goes on too', async () => {
    // Half of it compresses, so that cuts come in the middle of a stream worth compressing.
    const half = Buffer.concat([sampleText(4 * mebibyte), sampleBytes(4 * mebibyte, 3)]);
    proxy.cutEveryUp = 1.5 * mebibyte;
    proxy.cutsLeft = 2;
    await openRemote().write(digestOfBytes(half), half);
    expect(proxy.cuts).toBe(2);
    expect(await isThere(half)).toBe(true);
    expect(proxy.upBytes).toBeLessThan(half.byteLength);
  });

  test.each([
    ['plain', big],
    ['compressed', Buffer.concat([sampleText(4 * mebibyte), sampleBytes(4 * mebibyte, 3)])],
  ])('a %s read goes on where it stopped', async (_name, bytes) => {
    const digest = digestOfBytes(bytes);
    await server.store.write(digest, bytes);
    proxy.cutEveryDown = 1.5 * mebibyte;
    proxy.cutsLeft = 2;
    const read = await collectBytes(openRemote().read(digest), bytes.byteLength);
    expect(digestOfBytes(read)).toEqual(digest);
    expect(proxy.cuts).toBe(2);
    expect(proxy.downBytes).toBeLessThan(bytes.byteLength + 2 * mebibyte);
  });

  test('a write goes on with the next server on the same folder', async () => {
    proxy.cutEveryUp = 3 * mebibyte;
    proxy.cutsLeft = 1;
    proxy.onCut = async () => {
      await server[Symbol.asyncDispose]();
      server = await startServer();
      proxy.targetPort = server.port;
    };
    await openRemote().write(bigDigest, chunked(big));
    expect(proxy.cuts).toBe(1);
    expect(await isThere(big)).toBe(true);
    expect(proxy.upBytes).toBeLessThan(big.byteLength + mebibyte);
  });

  test('small blobs arrive all the same', async () => {
    const blobs = Array.from({ length: 300 }, (_, seed) => sampleBytes(20_000, seed));
    proxy.cutEveryUp = mebibyte;
    proxy.cutsLeft = 3;
    const remote = openRemote();
    await Promise.all(blobs.map((bytes) => remote.write(digestOfBytes(bytes), bytes)));
    expect(proxy.cuts).toBe(3);
    expect(await server.store.findMissing(blobs.map(digestOfBytes))).toEqual([]);
  });

  test('a source that can not be read again says so', async () => {
    proxy.cutEveryUp = 6 * mebibyte;
    proxy.cutsLeft = 1;
    proxy.onCut = async () => {
      // The server has forgotten the upload, so it would have to begin again.
      await server[Symbol.asyncDispose]();
      await rm(join(directory, 'store/uploads'), { recursive: true });
      server = await startServer();
      proxy.targetPort = server.port;
    };
    const write = openRemote({ replayBytesMax: mebibyte }).write(bigDigest, chunked(big)(0));
    await expect(write).rejects.toMatchObject({ code: 'CONTENT_STORE_UNAVAILABLE', advice: 'conflict' });
  });

  test('it gives up when the server stays away', async () => {
    const remote = openRemote({ attemptsMax: 3 });
    await remote.findMissing([]);
    await remote.write(digestOfBytes(sampleBytes(10)), sampleBytes(10));
    proxy.targetPort = 1;
    proxy.cutEveryUp = 1;
    proxy.cutsLeft = 1000;
    const away = { code: 'CONTENT_STORE_UNAVAILABLE', advice: 'unavailable' };
    await expect(remote.findMissing([bigDigest])).rejects.toMatchObject(away);
    await expect(remote.write(bigDigest, big)).rejects.toMatchObject(away);
    await expect(collectBytes(remote.read(bigDigest), big.byteLength)).rejects.toMatchObject(away);
    await expect(remote.write(digestOfBytes(sampleBytes(9)), sampleBytes(9))).rejects.toMatchObject(away);
  });
});

describe('what goes over the wire', () => {
  test('small blobs share calls', async () => {
    const remote = openRemote();
    const blobs = Array.from({ length: 500 }, (_, seed) => sampleBytes(1000, seed));
    await Promise.all(blobs.map((bytes) => remote.write(digestOfBytes(bytes), bytes)));
    const read = await Promise.all(blobs.map((bytes) => collectBytes(remote.read(digestOfBytes(bytes)), 1000)));
    expect(read.map(digestOfBytes)).toEqual(blobs.map(digestOfBytes));
    expect(calls.filter((name) => name === 'GetCapabilities')).toHaveLength(1);
    expect(calls.filter((name) => name === 'BatchUpdateBlobs').length).toBeLessThanOrEqual(10);
    expect(calls.filter((name) => name === 'BatchReadBlobs').length).toBeLessThanOrEqual(10);
    expect(calls).not.toContain('Write');
  });

  test('text is compressed both ways, noise is not', async () => {
    const remote = openRemote();
    await remote.write(bigTextDigest, bigText);
    expect(await isThere(bigText)).toBe(true);
    expect(digestOfBytes(await collectBytes(remote.read(bigTextDigest), bigText.byteLength))).toEqual(bigTextDigest);
    expect(proxy.upBytes + proxy.downBytes).toBeLessThan(mebibyte);

    const plain = openRemote({ compression: 'never' });
    expect(digestOfBytes(await collectBytes(plain.read(bigTextDigest), bigText.byteLength))).toEqual(bigTextDigest);
    expect(proxy.downBytes).toBeGreaterThan(bigText.byteLength);
  });

  test('a blob that the server has is not sent, and its source is let go', async () => {
    await server.store.write(bigDigest, big);
    let isLetGo = false;
    const source = async function* (): AsyncGenerator<Uint8Array> {
      try {
        yield* chunked(big)(0);
      } finally {
        isLetGo = true;
      }
    };
    await openRemote().write(bigDigest, source);
    expect(proxy.upBytes).toBeLessThan(4 * mebibyte);
    await expect.poll(() => isLetGo).toBe(true);
  });

  test('a batch never exceeds what the server allows', async () => {
    await server[Symbol.asyncDispose]();
    server = await startServer({ batchTotalBytesMax: 50_000 });
    proxy.targetPort = server.port;
    const remote = openRemote();
    const blobs = Array.from({ length: 40 }, (_, seed) => sampleBytes(10_000, seed)).concat(sampleBytes(60_000, 99));
    await Promise.all(blobs.map((bytes) => remote.write(digestOfBytes(bytes), bytes)));
    const read = await Promise.all(blobs.map((bytes) => collectBytes(remote.read(digestOfBytes(bytes)), 60_000)));
    expect(read.map(digestOfBytes)).toEqual(blobs.map(digestOfBytes));
    expect(calls.filter((name) => name === 'Write')).toHaveLength(1);
  });

  test("a blob above the server's limit is refused before it is sent", async () => {
    await server[Symbol.asyncDispose]();
    server = await startServer({ blobSizeBytesMax: mebibyte });
    proxy.targetPort = server.port;
    await expect(openRemote().write(bigDigest, big)).rejects.toMatchObject({ code: 'BLOB_TOO_LARGE' });
    expect(calls).toEqual(['GetCapabilities']);
  });

  test("the server's refusals keep their codes", async () => {
    await server[Symbol.asyncDispose]();
    server = await startServer({ findMissingMax: 1 });
    proxy.targetPort = server.port;
    const two = [1, 2].map((seed) => digestOfBytes(sampleBytes(10, seed)));
    await expect(openRemote().findMissing(two)).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE', advice: 'fix-input' });
  });
});

test('a tree of files goes through the wire and comes back the same', async () => {
  const from = join(directory, 'from');
  await mkdir(join(from, 'a/b'), { recursive: true });
  for (let index = 0; index < 200; index++) {
    await writeFile(join(from, index % 2 === 0 ? 'a' : 'a/b', `file-${index}`), sampleText(index * 50, index));
  }
  await writeFile(join(from, 'large'), sampleBytes(3 * mebibyte));
  const remote = openRemote();
  const stored = await storeTree(remote, { directory: from });
  await materializeTree(remote, stored.digest, { directory: join(directory, 'to') });
  expect(execFileSync('diff', ['-r', from, join(directory, 'to')]).toString()).toBe('');
  expect((await storeTree(remote, { directory: from })).uploadedBytes).toBe(0);
});
