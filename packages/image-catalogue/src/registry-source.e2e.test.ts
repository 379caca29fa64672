import { isDroverError } from '@drover/lease-kit';
import { debianProgram } from '@drover/sandbox-test-parts';
import { spawn, type ChildProcess } from 'node:child_process';
import { once as eventOf } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createImageCatalogue } from './create-image-catalogue.ts';
import {
  digestOf,
  imageOf,
  RememberingDriver,
  tarOf,
  TestFolder,
  type TestImage,
} from './image-catalogue.test.fixture.ts';
import type { ImageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';
import { createRegistrySource, type RegistryOptions } from './registry-source.ts';

const { signal } = new AbortController();
const program = await debianProgram('docker-registry', 'docker-registry', AbortSignal.timeout(60_000));
const withCode = (code: ImageFault): unknown => expect.toSatisfy((error) => isDroverError(error, code), code);
const manifestType = 'application/vnd.oci.image.manifest.v1+json';

async function pull(
  digest: string,
  reference: string,
  registry: Partial<RegistryOptions> & { host: string },
  limits: Partial<ImageLimits> = {},
): Promise<string> {
  using folder = new TestFolder();
  const driver = new RememberingDriver();
  await using catalogue = await createImageCatalogue(
    { stateDir: folder.path, sizeBytesMax: 1e9, limits },
    { driver, sources: [createRegistrySource({ registries: [registry] })] },
  );
  await catalogue.ensure({ digest, reference }, signal);
  return readFileSync(`${driver.images.get(digest)!.folder}/f`, 'utf8');
}

/** A server in front of a registry, or of nothing, until it is disposed of. */
async function serve(listener: RequestListener): Promise<{ readonly host: string } & AsyncDisposable> {
  const server: Server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await eventOf(server, 'listening');
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await eventOf(server, 'close');
    },
  };
}

/** Gives an image itself; `change` may answer first. */
function serveImage(image: TestImage, change: RequestListener = () => undefined) {
  return serve((call, answer) => {
    change(call, answer);
    if (answer.writableEnded || answer.headersSent) return;
    const bytes = image.blobs.get(call.url!.split('/').at(-1)!);
    if (bytes === undefined) return void answer.writeHead(404).end();
    const from = Number(/bytes=(\d+)-/.exec(call.headers.range ?? '')?.[1] ?? 0);
    if (from > 0)
      answer.writeHead(206, { 'content-range': `bytes ${from}-${bytes.byteLength - 1}/${bytes.byteLength}` });
    answer.end(bytes.subarray(from));
  });
}

async function testImage(text: string): Promise<TestImage> {
  return imageOf([
    await tarOf([
      { name: 'f', text },
      { name: 'random', text: randomBytes(400_000) },
    ]),
  ]);
}

describe.skipIf(program === undefined)('Debian’s registry [limits:docker-registry]', () => {
  const folder = new TestFolder();
  let registry: ChildProcess;
  let host: string;

  beforeAll(async () => {
    const probe = createTcpServer().listen(0, '127.0.0.1');
    await eventOf(probe, 'listening');
    host = `127.0.0.1:${(probe.address() as AddressInfo).port}`;
    probe.close();
    const config = {
      version: 0.1,
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: folder.at('data') } },
      http: { addr: host },
    };
    writeFileSync(folder.at('config.yml'), JSON.stringify(config));
    registry = spawn(program!.path, ['serve', folder.at('config.yml')], {
      env: { ...process.env, ...program!.env },
      stdio: 'ignore',
    });
    await vi.waitFor(async () => expect((await send('GET', '/v2/')).status).toBe(200), { timeout: 15_000 });
  });

  afterAll(async () => {
    registry.kill('SIGKILL');
    await eventOf(registry, 'exit');
    folder[Symbol.dispose]();
  });

  async function send(method: string, path: string, body?: Buffer, type = 'application/octet-stream') {
    const call = request(new URL(path, `http://${host}`), {
      method,
      headers: body === undefined ? {} : { 'content-type': type },
      agent: false,
    });
    call.end(body);
    const [answer] = (await eventOf(call, 'response')) as [IncomingMessage];
    answer.resume();
    await eventOf(answer, 'end');
    return { status: answer.statusCode!, location: answer.headers.location ?? '' };
  }

  async function push(image: TestImage, tag: string): Promise<void> {
    for (const [digest, bytes] of image.blobs) {
      if (digest === image.digest) continue;
      const { location } = await send('POST', '/v2/tools/gcc/blobs/uploads/');
      const place = new URL(location, `http://${host}`);
      place.searchParams.set('digest', digest);
      expect((await send('PUT', `${place.pathname}${place.search}`, bytes)).status).toBe(201);
    }
    expect((await send('PUT', `/v2/tools/gcc/manifests/${tag}`, image.manifest, manifestType)).status).toBe(201);
  }

  test('an image comes by its digest, whatever its tag says by now', async () => {
    const [first, second] = [await testImage('first'), await testImage('second')];
    await push(first, 'latest');
    await push(second, 'latest');
    expect(await pull(first.digest, `${host}/tools/gcc:latest`, { host })).toBe('first');
    expect(await pull(second.digest, `${host}/tools/gcc:latest`, { host })).toBe('second');
    await expect(pull(digestOf('never'), `${host}/tools/gcc:latest`, { host })).rejects.toEqual(
      withCode('IMAGE_NOT_FOUND'),
    );
    await expect(pull(first.digest, `${host}/tools/clang`, { host })).rejects.toEqual(withCode('IMAGE_NOT_FOUND'));
  });
});

describe('a registry', () => {
  test('that dies in the middle of a layer is asked for the rest', async () => {
    const image = await testImage('whole');
    const ranges: (string | undefined)[] = [];
    await using server = await serveImage(image, (call, answer) => {
      const bytes = image.blobs.get(call.url!.split('/').at(-1)!);
      if (bytes === undefined || bytes.byteLength < 100_000) return;
      ranges.push(call.headers.range);
      if (ranges.length > 1) return;
      answer.writeHead(200, { 'content-length': bytes.byteLength });
      answer.write(bytes.subarray(0, 150_000), () => answer.destroy());
    });
    expect(await pull(image.digest, `${server.host}/a/b`, server)).toBe('whole');
    expect(ranges).toHaveLength(2);
    expect(ranges[1]).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test('that says nothing any more is left alone', async () => {
    const image = await testImage('slow');
    await using server = await serveImage(image, (call, answer) => {
      if (call.url!.includes('/blobs/')) answer.writeHead(200).flushHeaders();
    });
    await expect(
      pull(image.digest, `${server.host}/a/b`, server, { stalledMsMax: 50, pullMsMax: 2_000 }),
    ).rejects.toEqual(withCode('IMAGE_SOURCE_UNAVAILABLE'));
  });

  test('that gives something else for a digest is not believed', async () => {
    const [wanted, other] = [await testImage('wanted'), await testImage('other')];
    await using server = await serve((_, answer) => void answer.end(other.manifest));
    await expect(pull(wanted.digest, `${server.host}/a/b`, server)).rejects.toEqual(withCode('IMAGE_DIGEST_WRONG'));
  });

  test('gets the password for its token, and where it redirects to gets neither', async () => {
    const image = await testImage('private');
    const seen: (string | undefined)[] = [];
    await using store = await serveImage(image, ({ headers }) => void seen.push(headers.authorization));
    await using server = await serveImage(image, (call, answer) => {
      const { authorization, host } = call.headers;
      if (call.url!.startsWith('/token')) {
        const isRight =
          authorization === `Basic ${Buffer.from('me:secret').toString('base64')}` &&
          call.url!.includes('scope=repository%3Aa%2Fb%3Apull');
        answer.writeHead(isRight ? 200 : 401).end('{"token":"good"}');
      } else if (authorization !== 'Bearer good') {
        answer
          .writeHead(401, {
            'www-authenticate': `Bearer realm="http://${host}/token",service="here",scope="everything"`,
          })
          .end();
      } else if (call.url!.includes('/blobs/'))
        answer.writeHead(307, { location: `http://${store.host}${call.url}` }).end();
    });
    const credentials = { username: 'me', password: 'secret' };
    expect(await pull(image.digest, `${server.host}/a/b`, { ...server, credentials })).toBe('private');
    expect(seen).toEqual([undefined, undefined]);
    await expect(
      pull(image.digest, `${server.host}/a/b`, { ...server, credentials: { ...credentials, password: 'x' } }),
    ).rejects.toEqual(withCode('IMAGE_SOURCE_DENIED'));
  });

  test('that sends elsewhere for a token, or is not one of those allowed, is denied', async () => {
    const image = await testImage('x');
    let asked = 0;
    await using thief = await serve((_, answer) => void (asked++, answer.end('{"token":"t"}')));
    await using server = await serve(
      (_, answer) => void answer.writeHead(401, { 'www-authenticate': `Bearer realm="http://${thief.host}/"` }).end(),
    );
    const credentials = { username: 'me', password: 'secret' };
    await expect(pull(image.digest, `${server.host}/a/b`, { ...server, credentials })).rejects.toEqual(
      withCode('IMAGE_SOURCE_DENIED'),
    );
    await expect(pull(image.digest, `${thief.host}/a/b`, server)).rejects.toEqual(withCode('IMAGE_SOURCE_DENIED'));
    for (const reference of ['gcc', 'gcc:12', `${thief.host}/../x`, `${thief.host}/A`, `me@${thief.host}/a`]) {
      await expect(pull(image.digest, reference, server)).rejects.toEqual(withCode('IMAGE_REFERENCE_INVALID'));
    }
    expect(asked).toBe(0);
  });
});
