import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { buildBundle } from './build-bundle.ts';
import type { BundleFault } from './bundle-errors.ts';
import { manifestOf, rawBundle, TestFolder, type RawEntry } from './bundle.test.fixture.ts';
import type { BundleManifest } from './bundle-manifest.ts';
import { unpackBundle } from './unpack-bundle.ts';

const withCode = (code: BundleFault): unknown => expect.toSatisfy((error) => isDroverError(error, code), code);
const exampleFiles = { 'bin/run': '#!/bin/sh\n', 'lib/deep/data.txt': 'data\n', 'empty.txt': '' };

function exampleFolder(into: TestFolder): string {
  for (const [path, text] of Object.entries(exampleFiles)) {
    into.write(`source/${path}`, text, path === 'bin/run' ? 0o755 : 0o644);
  }
  symlinkSync('../lib/deep', join(into.path, 'source/bin/deep'));
  return join(into.path, 'source');
}

test('what was built comes out again, and building it again gives the same bytes', async () => {
  using test = new TestFolder();
  const folder = exampleFolder(test);
  const options = { folder, version: '1.2.3', platform: 'any', entry: 'bin/run' };
  const first = await buildBundle({ ...options, output: join(test.path, 'a.tar.gz') });
  const second = await buildBundle({ ...options, output: join(test.path, 'b.tar.gz') });
  expect(second.digest).toEqual(first.digest);

  const out = join(test.path, 'out');
  mkdirSync(out);
  const manifest = await unpackBundle(test.read('a.tar.gz'), { folder: out });
  expect(manifest).toEqual(first.manifest);
  for (const [path, text] of Object.entries(exampleFiles)) expect(readFileSync(join(out, path), 'utf8')).toBe(text);
  expect(readlinkSync(join(out, 'bin/deep'))).toBe('../lib/deep');
  expect(statSync(join(out, 'bin/run')).mode & 0o111).not.toBe(0);
  expect(statSync(join(out, 'empty.txt')).mode & 0o111).toBe(0);
});

describe('a folder that can be no bundle', () => {
  test.each<[string, Partial<Parameters<typeof buildBundle>[0]>, BundleFault]>([
    ['a version that is none', { version: '1.2' }, 'BUNDLE_INVALID'],
    ['a platform that is none', { platform: 'Windows 95' }, 'BUNDLE_INVALID'],
    ['no such entry', { entry: 'bin/walk' }, 'BUNDLE_INVALID'],
    ['an entry that cannot be started', { entry: 'empty.txt' }, 'BUNDLE_INVALID'],
    ['an entry outside', { entry: '../run' }, 'BUNDLE_PATH_ESCAPES'],
    ['too many files', { limits: { filesMax: 3 } }, 'BUNDLE_TOO_LARGE'],
    ['too many bytes', { limits: { unpackedBytesMax: 3 } }, 'BUNDLE_TOO_LARGE'],
    ['too large an archive', { limits: { archiveBytesMax: 100 } }, 'BUNDLE_TOO_LARGE'],
  ])('%s', async (_, wrong, code) => {
    using test = new TestFolder();
    const output = join(test.path, 'a.tar.gz');
    const options = { folder: exampleFolder(test), version: '1.2.3', entry: 'bin/run', output };
    await expect(buildBundle({ ...options, ...wrong })).rejects.toEqual(withCode(code));
    expect(readdirSync(test.path)).toEqual(['source']);
  });

  test('a link that leads out of it', async () => {
    using test = new TestFolder();
    const folder = exampleFolder(test);
    symlinkSync('/etc', join(folder, 'etc'));
    const output = join(test.path, 'a.tar.gz');
    await expect(buildBundle({ folder, version: '1.2.3', entry: 'bin/run', output })).rejects.toEqual(
      withCode('BUNDLE_SYMLINK_ESCAPES'),
    );
  });
});

describe('an archive that is refused', () => {
  const link = (path: string, target: string): Partial<BundleManifest> => ({ links: [{ path, target }] });
  const symlink = (name: string, linkname: string): RawEntry => ({ name, type: 'symlink', linkname });

  test.each<[string, unknown, readonly RawEntry[], BundleFault]>([
    ['a manifest that is no JSON', '{', [], 'BUNDLE_INVALID'],
    ['a manifest of another format', { ...manifestOf(['run']), format: 2 }, [], 'BUNDLE_INVALID'],
    ['a manifest with a word too many', { ...manifestOf(['run']), hooks: [] }, [], 'BUNDLE_INVALID'],
    ['a path that leaves', manifestOf(['run', '../../etc/cron.d/x']), [], 'BUNDLE_PATH_ESCAPES'],
    ['a path that leaves on the way', manifestOf(['run', 'a/../../b']), [], 'BUNDLE_PATH_ESCAPES'],
    ['an absolute path', manifestOf(['run', '/etc/passwd']), [], 'BUNDLE_PATH_ESCAPES'],
    ['a path with backslashes', manifestOf(['run', '..\\b']), [], 'BUNDLE_PATH_ESCAPES'],
    ['an entry that leaves and is not named', manifestOf(['run']), [{ name: '../evil' }], 'BUNDLE_PATH_ESCAPES'],
    ['an absolute entry', manifestOf(['run']), [{ name: '/tmp/evil' }], 'BUNDLE_PATH_ESCAPES'],
    ['a link out of it', manifestOf(['run'], link('l', '../x')), [], 'BUNDLE_SYMLINK_ESCAPES'],
    ['an absolute link', manifestOf(['run'], link('l', '/etc')), [], 'BUNDLE_SYMLINK_ESCAPES'],
    [
      'a link that leads out through another',
      manifestOf(['run'], link('d/l', 'k/../../x')),
      [],
      'BUNDLE_SYMLINK_ESCAPES',
    ],
    ['a file behind a link', manifestOf(['run', 'd/x'], link('d', 'e')), [], 'BUNDLE_INVALID'],
    ['a file behind a link by another case', manifestOf(['run', 'D/x'], link('d', 'e')), [], 'BUNDLE_INVALID'],
    ['two names for one file', manifestOf(['run', 'a', 'A']), [], 'BUNDLE_INVALID'],
    [
      'a link to elsewhere than it says',
      manifestOf(['run'], link('l', 'run')),
      [symlink('l', '/etc')],
      'BUNDLE_FILE_WRONG',
    ],
    ['a link that is not named', manifestOf(['run']), [symlink('l', 'run')], 'BUNDLE_FILE_WRONG'],
    [
      'a device',
      manifestOf(['run']),
      [{ name: 'run', type: 'character-device', devmajor: 1, devminor: 3 }],
      'BUNDLE_ENTRY_UNSUPPORTED',
    ],
    [
      'a hard link',
      manifestOf(['run']),
      [{ name: 'run', type: 'link', linkname: '/etc/shadow' }],
      'BUNDLE_ENTRY_UNSUPPORTED',
    ],
    ['a pipe', manifestOf(['run']), [{ name: 'run', type: 'fifo' }], 'BUNDLE_ENTRY_UNSUPPORTED'],
    ['other bytes than it says', manifestOf(['run']), [{ name: 'run', text: 'nur' }], 'BUNDLE_FILE_WRONG'],
    ['more bytes than it says', manifestOf(['run']), [{ name: 'run', text: 'runs' }], 'BUNDLE_FILE_WRONG'],
    ['a file twice', manifestOf(['run']), [{ name: 'run' }, { name: 'run' }], 'BUNDLE_FILE_WRONG'],
    ['a file that is missing', manifestOf(['run', 'more']), [{ name: 'run' }], 'BUNDLE_FILE_WRONG'],
  ])('%s', async (_, manifest, entries, code) => {
    using test = new TestFolder();
    const folder = join(test.path, 'in/out');
    mkdirSync(folder, { recursive: true });
    const bytes = await rawBundle(manifest, entries);
    await expect(unpackBundle([bytes], { folder })).rejects.toEqual(withCode(code));
    // Nothing outside of its folder.
    expect(readdirSync(test.path)).toEqual(['in']);
    expect(readdirSync(join(test.path, 'in'))).toEqual(['out']);
  });

  test('one that ends early, wherever that is', async () => {
    const bytes = await rawBundle(manifestOf(['run', 'lib/other']), [{ name: 'run' }, { name: 'lib/other' }]);
    for (const part of [0, 0.2, 0.5, 0.9]) {
      const cut = bytes.subarray(0, Math.floor(bytes.byteLength * part));
      await expect(unpackBundle([cut])).rejects.toEqual(withCode('BUNDLE_TRUNCATED'));
    }
    // The same within, in an archive that is whole as far as gzip can see.
    const tar = gunzipSync(bytes);
    for (const length of [512 + 100, 1_024 + 100, tar.byteLength - 2_048]) {
      const cut = gzipSync(tar.subarray(0, length));
      await expect(unpackBundle([cut])).rejects.toEqual(
        expect.toSatisfy(
          (error) => isDroverError(error, 'BUNDLE_TRUNCATED') || isDroverError(error, 'BUNDLE_FILE_WRONG'),
        ),
      );
    }
  });

  test('one that is no archive at all', async () => {
    await expect(unpackBundle([Buffer.from('hello, agent')])).rejects.toEqual(withCode('BUNDLE_INVALID'));
    await expect(unpackBundle([gzipSync('hello, agent'.repeat(200))])).rejects.toEqual(withCode('BUNDLE_INVALID'));
    await expect(unpackBundle([])).rejects.toEqual(withCode('BUNDLE_TRUNCATED'));
  });

  test('one above a bound', async () => {
    const bytes = await rawBundle(manifestOf(['run', 'b']), [{ name: 'run' }, { name: 'b' }]);
    for (const limits of [{ filesMax: 1 }, { unpackedBytesMax: 3 }, { archiveBytesMax: 50 }, { manifestBytesMax: 9 }]) {
      await expect(unpackBundle([bytes], { limits })).rejects.toEqual(withCode('BUNDLE_TOO_LARGE'));
    }
  });

  test('never: what the source throws, and an abort, come through as they are', async () => {
    const broken = (async function* () {
      yield (await rawBundle(manifestOf(['run']), [{ name: 'run' }])).subarray(0, 20);
      throw new Error('the network is away');
    })();
    await expect(unpackBundle(broken)).rejects.toThrow('the network is away');
    const stop = new AbortController();
    const waiting = (async function* () {
      stop.abort(new Error('not wanted'));
      await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
      yield new Uint8Array(1);
    })();
    await expect(unpackBundle(waiting, { signal: stop.signal })).rejects.toThrow('not wanted');
  });
});
