import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type PeerCertificate } from 'node:tls';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcTransport } from '@connectrpc/connect-node';
import { isDroverError, type LogFields } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { ByteStream } from '@drover/standard-protocols';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRpcHost, type RpcHost } from './rpc-host.ts';
import { testCertificates, type TestCertificate } from './testing/index.ts';
import { loadTls, watchTls, type TlsFiles } from './tls-files.ts';

const { ca, server, renewed, agent1, agent2, stranger } = testCertificates;
let dir: string;
let files: TlsFiles;
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-tls-'));
  files = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem'), clientCa: join(dir, 'ca.pem') };
  write(server);
  writeFileSync(files.clientCa!, ca);
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(dir, { recursive: true });
});
function write({ cert, key }: TestCertificate): void {
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
}

/** A host that answers with the names of its caller's certificate, and the name that it was called by. */
async function startHost(changes: Partial<TlsFiles> = {}): Promise<RpcHost> {
  const seen: { value?: string } = {};
  const host = createRpcHost(
    { host: '127.0.0.1', port: 0, tls: await loadTls({ ...files, ...changes }) },
    {
      principalOf: ({ peer, authority }) => {
        seen.value = `${peer.certificateNames?.join(' ') ?? 'nobody'} at ${authority}`;
        return { kind: 'user', id: 'x' };
      },
      routes: (router) =>
        router.service(ByteStream, {
          queryWriteStatus: () => ({ committedSize: BigInt(Buffer.byteLength(seen.value!)) }),
          async *read() {
            throw new Error(seen.value);
          },
        }),
    },
  );
  cleanups.push(() => host.stop({ graceMs: 0 }));
  await host.start();
  return Object.assign(host, { seen });
}

async function whoAmI(host: RpcHost, certificate?: TestCertificate, http1 = false): Promise<string> {
  const nodeOptions = { ca, ...certificate };
  const baseUrl = `https://localhost:${host.address.port}`;
  const transport = http1
    ? createConnectTransport({ baseUrl, httpVersion: '1.1', nodeOptions: { ...nodeOptions, agent: false } })
    : createGrpcTransport({ baseUrl, nodeOptions });
  await createClient(ByteStream, transport).queryWriteStatus({ resourceName: 'x' });
  return (host as RpcHost & { seen: { value: string } }).seen.value;
}

describe('client certificates', () => {
  test('say whom they are for, over both versions of HTTP', async () => {
    const host = await startHost();
    const at = `at localhost:${host.address.port}`;
    expect(await whoAmI(host, agent1)).toBe(`agent-1 ${at}`);
    expect(await whoAmI(host, agent1, true)).toBe(`agent-1 ${at}`);
    expect(await whoAmI(host, agent2)).toBe(`agent-2 agent-2.example ${at}`);
  });

  test('that are required keep everybody else out', async () => {
    const host = await startHost();
    for (const certificate of [undefined, stranger]) {
      await expect(whoAmI(host, certificate)).rejects.toThrow();
    }
  });

  test('that are optional must be right if they are shown', async () => {
    const host = await startHost({ clientCertificates: 'optional' });
    expect(await whoAmI(host)).toMatch(/^nobody at/);
    expect(await whoAmI(host, agent1)).toMatch(/^agent-1 at/);
    await expect(whoAmI(host, stranger)).rejects.toThrow();
  });

  test('that are not wanted any more have their connections ended, and no others', async () => {
    const host = await startHost();
    const open = async ({ cert, key }: TestCertificate, ALPNProtocols: string[]) => {
      const socket = connect({ host: '127.0.0.1', port: host.address.port, ca, cert, key, ALPNProtocols });
      cleanups.push(() => socket.destroy());
      socket.on('error', () => undefined).resume();
      await once(socket, 'secureConnect');
      return socket;
    };
    const meant = [await open(agent1, ['h2']), await open(agent1, ['http/1.1'])];
    const other = await open(agent2, ['h2']);
    const closed = Promise.all(meant.map((socket) => once(socket, 'close')));
    // The host may have heard of fewer than there are: a handshake ends here first.
    let ended = 0;
    await expect
      .poll(() => (ended += host.disconnect(({ certificateNames }) => certificateNames?.includes('agent-1') === true)))
      .toBe(2);
    await closed;
    expect(other.destroyed).toBe(false);
    expect(host.connectionCount).toBe(1);
  });

  test('are not looked at unless they are asked for', async () => {
    const { cert, key } = files;
    const host = createRpcHost(
      { host: '127.0.0.1', port: 0, tls: await loadTls({ cert, key }) },
      { principalOf: ({ peer }) => void expect(peer.certificateNames).toBeUndefined(), routes: () => undefined },
    );
    cleanups.push(() => host.stop({ graceMs: 0 }));
    await host.start();
    expect(await commonName(host)).toBe('localhost');
  });
});

/** Whom a new connection finds. */
function commonName(host: RpcHost): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<PeerCertificate>();
  const socket = connect({ host: '127.0.0.1', port: host.address.port, ca, ...agent1 });
  socket.once('error', reject);
  socket.once('secureConnect', () => {
    resolve(socket.getPeerCertificate());
    socket.destroy();
  });
  return promise.then(({ subject }) => String(subject.CN));
}

describe('the certificate of a listener', () => {
  test('follows its files, and stays when they cannot be used', async () => {
    const host = await startHost();
    const { promise: failed, resolve: onError } = Promise.withResolvers<LogFields>();
    const logger = {
      debug() {},
      info() {},
      warn() {},
      error: (fields: LogFields) => onError(fields),
      child: () => logger,
    };
    using watch = watchTls(files, host, { everyMs: 10, logger });
    expect(await commonName(host)).toBe('localhost');
    write(renewed);
    await expect.poll(() => commonName(host)).toBe('renewed');
    writeFileSync(files.key, 'nonsense');
    expect(isDroverError((await failed)['err'], 'TLS_FILES_INVALID')).toBe(true);
    expect(await commonName(host)).toBe('renewed');
    write(server);
    await watch.reload();
    expect(await commonName(host)).toBe('localhost');
  });

  test('is checked before it is used', async () => {
    const failure = (changes: Partial<TlsFiles>) => loadTls({ ...files, ...changes }).catch(droverErrorFromConnect);
    expect(await failure({ cert: join(dir, 'none') })).toMatchObject({
      code: 'TLS_FILES_INVALID',
      advice: 'fix-input',
    });
    writeFileSync(files.key, renewed.key);
    expect(await failure({})).toMatchObject({ code: 'TLS_FILES_INVALID', message: expect.stringContaining(files.key) });
    const plain = createRpcHost(
      { host: '127.0.0.1', port: 0 },
      { principalOf: () => undefined, routes: () => undefined },
    );
    expect(() => plain.reloadTls(server)).toThrow(expect.objectContaining({ code: 'TLS_INVALID' }));
    await plain.stop();
  });
});
