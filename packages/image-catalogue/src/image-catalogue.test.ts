import { isDroverError } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { createArchiveSource } from './archive-source.ts';
import { createImageCatalogue, type ImageCatalogueOptions } from './create-image-catalogue.ts';
import {
  digestOf,
  imageOf,
  RememberingDriver,
  tarOf,
  TestFolder,
  writeLayout,
  type TestImage,
} from './image-catalogue.test.fixture.ts';
import type { ImageFault } from './image-fault.ts';
import type { ImageSource } from './image-source.ts';
import { importRootArchive } from './import-root-archive.ts';
import { createLayoutSource } from './layout-source.ts';

const { signal } = new AbortController();
const withCode = (code: ImageFault): unknown => expect.toSatisfy((error) => isDroverError(error, code), code);
const never = digestOf('never');
const testImage = async (text: string, bytes = 0): Promise<TestImage> =>
  imageOf([await tarOf([{ name: 'f', text }]), await tarOf([{ name: 'g', text: Buffer.alloc(bytes, 'x') }])]);

/** A layout that counts who opens it, and may be held up. */
class CountedLayout implements ImageSource {
  readonly name = 'counted';
  readonly #source: ImageSource;
  opened = 0;
  aborted = 0;
  hold: Promise<void> | undefined;

  constructor(folder: string) {
    this.#source = createLayoutSource({ folder });
  }

  readonly open: ImageSource['open'] = async (wanted, context) => {
    this.opened += 1;
    if (this.hold !== undefined) {
      const aborted = Promise.withResolvers<never>();
      context.signal.addEventListener('abort', () => {
        this.aborted += 1;
        aborted.reject(context.signal.reason);
      });
      await Promise.race([this.hold, aborted.promise]);
    }
    return this.#source.open(wanted, context);
  };
}

class Bench extends TestFolder {
  readonly clock = new ManualClock(1_000_000);
  readonly driver = new RememberingDriver();
  readonly layout = this.at('layout');
  readonly source = new CountedLayout(this.layout);
  readonly retired: string[] = [];

  async put(text: string, bytes = 0): Promise<string> {
    const image = await testImage(text, bytes);
    writeLayout(this.layout, image);
    return image.digest;
  }

  open(options: Partial<ImageCatalogueOptions> = {}, sources: readonly ImageSource[] = [this.source]) {
    return createImageCatalogue(
      { stateDir: this.at('state'), sizeBytesMax: 100_000_000, ...options },
      { driver: this.driver, sources, clock: this.clock, retire: async (digest) => void this.retired.push(digest) },
    );
  }

  folders(): readonly number[] {
    return ['images', 'building', 'leaving'].map((name) => readdirSync(this.at('state', name)).length);
  }
}

describe('one pull', () => {
  test('serves any number of callers, and one who leaves takes it from nobody', async () => {
    using bench = new Bench();
    const digest = await bench.put('one');
    await using catalogue = await bench.open();
    const held = Promise.withResolvers<void>();
    bench.source.hold = held.promise;
    const leaver = new AbortController();
    const left = expect(catalogue.ensure({ digest }, leaver.signal)).rejects.toThrow('left');
    const others = Array.from({ length: 20 }, () => catalogue.ensure({ digest }, signal));
    leaver.abort(new Error('left'));
    await left;
    held.resolve();
    expect(new Set((await Promise.all(others)).map((image) => image.digest))).toEqual(new Set([digest]));
    await catalogue.ensure({ digest }, signal);
    expect([bench.source.opened, bench.source.aborted, bench.driver.prepared]).toEqual([1, 0, 1]);
    expect(readFileSync(`${bench.driver.images.get(digest)!.folder}/f`, 'utf8')).toBe('one');
  });

  test('ends when nobody wants it, leaves nothing, and begins anew for the next', async () => {
    using bench = new Bench();
    const digest = await bench.put('one');
    await using catalogue = await bench.open();
    bench.source.hold = new Promise(() => undefined);
    const stop = new AbortController();
    const both = [catalogue.ensure({ digest }, stop.signal), catalogue.ensure({ digest }, stop.signal)];
    const ended = Promise.all(both.map((one) => expect(one).rejects.toThrow('not wanted')));
    await expect.poll(() => bench.source.opened).toBe(1);
    stop.abort(new Error('not wanted'));
    bench.source.hold = undefined;
    await ended;
    await catalogue.ensure({ digest }, signal);
    expect([bench.source.opened, bench.source.aborted]).toEqual([2, 1]);
    expect(bench.folders()).toEqual([1, 0, 0]);
  });

  test('tries the references of all its callers', async () => {
    using bench = new Bench();
    const digest = await bench.put('one');
    const asked: (string | undefined)[] = [];
    const second = Promise.withResolvers<void>();
    const source: ImageSource = {
      name: 'by reference',
      async open(wanted, context) {
        asked.push(wanted.reference);
        await second.promise;
        return wanted.reference === 'good' ? bench.source.open(wanted, context) : undefined;
      },
    };
    await using catalogue = await bench.open({}, [source]);
    const both = [
      catalogue.ensure({ digest, reference: 'bad' }, signal),
      catalogue.ensure({ digest, reference: 'good' }, signal),
    ];
    second.resolve();
    await Promise.all(both);
    expect(asked).toEqual(['bad', 'good']);
  });

  test('is none for a driver that has no use for files', async () => {
    using bench = new Bench();
    Object.assign(bench.driver, { imageForm: 'none' });
    await using catalogue = await bench.open({}, []);
    expect(await catalogue.ensure({ digest: never }, signal)).toMatchObject({ digest: never });
    expect(catalogue.held()).toMatchObject([{ digest: never }]);
  });
});

describe('an image that is not had', () => {
  test.each<[string, (bench: Bench) => Promise<string>, ImageFault]>([
    ['nobody has it', async () => never, 'IMAGE_NOT_FOUND'],
    ['no digest', async () => 'latest', 'IMAGE_DIGEST_INVALID'],
    ['another algorithm', async () => `sha512:${'0'.repeat(128)}`, 'IMAGE_DIGEST_INVALID'],
    ['a path for a digest', async () => 'sha256:../../../etc/passwd', 'IMAGE_DIGEST_INVALID'],
    [
      'a manifest of other bytes',
      async (bench) => {
        const { digest, manifest } = await testImage('one');
        writeLayout(bench.layout, {
          digest,
          manifest,
          blobs: new Map([[digest, Buffer.concat([manifest, Buffer.from(' ')])]]),
        });
        return digest;
      },
      'IMAGE_DIGEST_WRONG',
    ],
    [
      'a layer of other bytes',
      async (bench) => {
        const image = await testImage('one');
        const [layer] = (JSON.parse(image.manifest.toString()) as { layers: { digest: string }[] }).layers;
        const bytes = Buffer.from(image.blobs.get(layer!.digest)!);
        bytes[bytes.length - 20]! ^= 1;
        writeLayout(bench.layout, { ...image, blobs: new Map([...image.blobs, [layer!.digest, bytes]]) });
        return image.digest;
      },
      'IMAGE_DIGEST_WRONG',
    ],
    [
      'a layer of another size',
      async (bench) => {
        const image = imageOf(
          [await tarOf([{ name: 'f' }])],
          (manifest) => ((manifest['layers'] as { size: number }[])[0]!.size -= 1),
        );
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_DIGEST_WRONG',
    ],
    [
      'an image of no layers',
      async (bench) => {
        const image = imageOf([], () => undefined);
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_INVALID',
    ],
    [
      'no image, but something else',
      async (bench) => {
        const image = imageOf([await tarOf([{ name: 'f' }])], (manifest) =>
          Object.assign(manifest['config'] as object, { mediaType: 'application/vnd.oci.empty.v1+json' }),
        );
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_UNSUPPORTED',
    ],
    [
      'a layer that stands elsewhere',
      async (bench) => {
        const mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
        const image = imageOf([await tarOf([{ name: 'f' }])], (manifest) =>
          Object.assign((manifest['layers'] as object[])[0]!, { mediaType }),
        );
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_UNSUPPORTED',
    ],
    [
      'a layer that does not unpack',
      async (bench) => {
        const mediaType = 'application/vnd.oci.image.layer.v1.tar+zstd';
        const image = imageOf([await tarOf([{ name: 'f' }])], (manifest) =>
          Object.assign((manifest['layers'] as object[])[0]!, { mediaType }),
        );
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_INVALID',
    ],
    [
      'a bomb',
      async (bench) => {
        const image = imageOf([Buffer.alloc(64 * 1024 * 1024)]);
        writeLayout(bench.layout, image);
        return image.digest;
      },
      'IMAGE_TOO_LARGE',
    ],
  ])('%s', async (_, make, code) => {
    using bench = new Bench();
    const digest = await make(bench);
    await using catalogue = await bench.open();
    await expect(catalogue.ensure({ digest }, signal)).rejects.toEqual(withCode(code));
    expect(catalogue.held()).toEqual([]);
    expect(bench.folders()).toEqual([0, 0, 0]);
    expect(bench.driver.images.size).toBe(0);
  });

  test('an index: the manifest for this machine is chosen; for no other', async () => {
    using bench = new Bench();
    const image = await testImage('one');
    const indexOf = (architecture: string): Buffer =>
      Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          manifests: [
            {
              mediaType: 'application/vnd.oci.image.manifest.v1+json',
              digest: never,
              size: 5,
              platform: { os: 'windows', architecture },
            },
            {
              mediaType: 'application/vnd.oci.image.manifest.v1+json',
              digest: image.digest,
              size: image.manifest.byteLength,
              platform: { os: 'linux', architecture },
            },
          ],
        }),
      );
    const [good, bad] = [indexOf(process.arch === 'arm64' ? 'arm64' : 'amd64'), indexOf('s390x')];
    writeLayout(bench.layout, {
      ...image,
      blobs: new Map([...image.blobs, [digestOf(good), good], [digestOf(bad), bad]]),
    });
    await using catalogue = await bench.open();
    expect(await catalogue.ensure({ digest: digestOf(good) }, signal)).toMatchObject({ digest: digestOf(good) });
    await expect(catalogue.ensure({ digest: digestOf(bad) }, signal)).rejects.toThrow(/linux\/s390x/);
  });
});

describe('archives', () => {
  test('of a root, packed or not, have the digest of the file; a broken one hides no other', async () => {
    using bench = new Bench();
    mkdirSync(bench.at('archives'));
    const tar = await tarOf([{ name: './etc/os', text: 'debian' }]);
    const files = {
      'a.tar': tar,
      'b.tar.gz': gzipSync(tar),
      'c.tar.zst': zstdCompressSync(tar),
      'bad.tar': Buffer.alloc(5_000, 1),
    };
    for (const [name, bytes] of Object.entries(files)) writeFileSync(bench.at('archives', name), bytes);
    await using catalogue = await bench.open({}, [createArchiveSource({ folder: bench.at('archives') })]);
    for (const name of ['a.tar', 'b.tar.gz', 'c.tar.zst'] as const) {
      const { digest } = await catalogue.ensure({ digest: digestOf(files[name]) }, signal);
      expect(readFileSync(`${bench.driver.images.get(digest)!.folder}/etc/os`, 'utf8')).toBe('debian');
    }
  });

  test('of a layout have the digests of its manifests; what Docker saved of old, that of the file', async () => {
    using bench = new Bench();
    mkdirSync(bench.at('archives'));
    const image = await testImage('one');
    const blobs = [...image.blobs].map(([digest, text]) => ({ name: `blobs/sha256/${digest.slice(7)}`, text }));
    writeFileSync(
      bench.at('archives/oci.tar'),
      await tarOf([{ name: 'oci-layout', text: '{"imageLayoutVersion":"1.0.0"}' }, ...blobs]),
    );
    const layer = await tarOf([{ name: 'f', text: 'saved' }]);
    const config = JSON.stringify({
      os: 'linux',
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      rootfs: { type: 'layers', diff_ids: [digestOf(layer), digestOf(layer)] },
    });
    const saved = await tarOf([
      { name: 'abc/layer.tar', text: layer },
      { name: 'def/layer.tar', type: 'symlink', linkname: '../abc/layer.tar' },
      { name: 'c.json', text: config },
      {
        name: 'manifest.json',
        text: JSON.stringify([{ Config: 'c.json', Layers: ['abc/layer.tar', 'def/layer.tar'] }]),
      },
    ]);
    writeFileSync(bench.at('archives/saved.tar'), saved);
    await using catalogue = await bench.open({}, [createArchiveSource({ folder: bench.at('archives') })]);
    await catalogue.ensure({ digest: image.digest }, signal);
    await catalogue.ensure({ digest: digestOf(saved) }, signal);
    expect(readFileSync(`${bench.driver.images.get(digestOf(saved))!.folder}/f`, 'utf8')).toBe('saved');
    expect(bench.folders()).toEqual([2, 0, 0]);
  });

  test('of a root become images of a layout, always the same', async () => {
    using bench = new Bench();
    writeFileSync(bench.at('root.tar'), gzipSync(await tarOf([{ name: 'f', text: 'imported' }])));
    const options = { archive: bench.at('root.tar'), layoutFolder: bench.layout, name: 'root' };
    const { digest } = await importRootArchive(options, signal);
    expect(await importRootArchive(options, signal)).toMatchObject({ digest });
    const index = JSON.parse(readFileSync(`${bench.layout}/index.json`, 'utf8')) as { manifests: unknown[] };
    expect(index.manifests).toHaveLength(1);
    await using catalogue = await bench.open();
    await catalogue.ensure({ digest }, signal);
    expect(readFileSync(`${bench.driver.images.get(digest)!.folder}/f`, 'utf8')).toBe('imported');
  });
});

describe('what is held', () => {
  test('goes when it was idle too long, but not if it is pinned, used, or a sandbox has it', async () => {
    using bench = new Bench();
    const [idle, pinned, used, inUse] = await Promise.all(['1', '2', '3', '4'].map((text) => bench.put(text)));
    await using catalogue = await bench.open({ idleMsMax: 60_000 });
    catalogue.pin([pinned!, never]);
    expect(catalogue.advertised()).toEqual([pinned, never]);
    for (const digest of [idle!, pinned!, inUse!]) await catalogue.ensure({ digest }, signal);
    using use = await catalogue.use({ digest: used! }, signal);
    bench.driver.inUse.add(inUse!);
    bench.clock.advance(90_000);
    await expect.poll(() => bench.retired.length).toBe(2);
    await expect.poll(() => catalogue.held().map(({ digest }) => digest)).toEqual([pinned!, used!, inUse!].sort());
    expect(catalogue.held().find(({ digest }) => digest === used)).toMatchObject({ uses: 1, pinned: false });
    expect(bench.driver.images.has(idle!)).toBe(false);
    await expect.poll(() => bench.folders()).toEqual([3, 0, 0]);
    use.release();
    use.release();
    expect(catalogue.held().find(({ digest }) => digest === used)).toMatchObject({ uses: 0 });
    // And comes back when it is wanted.
    await catalogue.ensure({ digest: idle! }, signal);
  });

  test('makes room, the longest unused first; where nothing may go, an error says so', async () => {
    using bench = new Bench();
    const digests: string[] = [];
    for (const text of ['1', '2', '3']) digests.push(await bench.put(text, 1_000_000));
    const [first, second, third] = digests as [string, string, string];
    await using catalogue = await bench.open({ sizeBytesMax: 2_500_000 });
    await catalogue.ensure({ digest: first }, signal);
    bench.clock.advance(1);
    await catalogue.ensure({ digest: second }, signal);
    bench.clock.advance(1);
    await catalogue.ensure({ digest: first }, signal);
    bench.clock.advance(1);
    await catalogue.ensure({ digest: third }, signal);
    expect(catalogue.held().map(({ digest }) => digest)).toEqual([first, third].sort());
    catalogue.pin([first]);
    using _use = await catalogue.use({ digest: third }, signal);
    await expect(catalogue.ensure({ digest: second }, signal)).rejects.toEqual(withCode('IMAGE_CATALOGUE_FULL'));
    expect(catalogue.held().map(({ digest }) => digest)).toEqual([first, third].sort());
    expect(bench.folders()).toEqual([2, 0, 0]);
  });

  test('is there again after a restart; what was half done, or is not whole, is not', async () => {
    using bench = new Bench();
    const [whole, torn, leaving] = await Promise.all(['1', '2', '3'].map((text) => bench.put(text)));
    {
      await using catalogue = await bench.open();
      for (const digest of [whole!, torn!, leaving!]) await catalogue.ensure({ digest }, signal);
      await expect(bench.open()).rejects.toEqual(withCode('IMAGE_CATALOGUE_IN_USE'));
    }
    writeFileSync(bench.at('state/images', torn!.slice(7), 'image.json'), '{"format":');
    renameSync(bench.at('state/images', leaving!.slice(7)), bench.at('state/leaving', `${leaving!.slice(7)}.x`));
    mkdirSync(bench.at('state/building/half/root'), { recursive: true });
    await using catalogue = await bench.open();
    expect(catalogue.held().map(({ digest }) => digest)).toEqual([whole]);
    expect(bench.folders()).toEqual([1, 0, 0]);
    expect(bench.driver.images.has(leaving!)).toBe(false);
    expect(existsSync(`${bench.driver.images.get(whole!)!.folder}/f`)).toBe(true);
  });

  test('ends with it: who waits is told', async () => {
    using bench = new Bench();
    const digest = await bench.put('one');
    const catalogue = await bench.open();
    bench.source.hold = new Promise(() => undefined);
    const waiting = expect(catalogue.ensure({ digest }, signal)).rejects.toEqual(withCode('IMAGE_CATALOGUE_CLOSED'));
    await expect.poll(() => bench.source.opened).toBe(1);
    await catalogue[Symbol.asyncDispose]();
    await waiting;
    await expect(catalogue.ensure({ digest }, signal)).rejects.toEqual(withCode('IMAGE_CATALOGUE_CLOSED'));
    expect(bench.folders()).toEqual([0, 0, 0]);
  });
});
