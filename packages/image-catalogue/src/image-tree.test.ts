import { isDroverError } from '@drover/lease-kit';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, test } from 'vitest';
import { once, tarOf, TestFolder, type RawEntry } from './image-catalogue.test.fixture.ts';
import type { ImageFault } from './image-fault.ts';
import { defaultImageLimits, type ImageLimits } from './image-limits.ts';
import { ImageTree } from './image-tree.ts';

const { signal } = new AbortController();
const withCode = (code: ImageFault): unknown => expect.toSatisfy((error) => isDroverError(error, code), code);
const folder = (name: string, more: Partial<RawEntry> = {}): RawEntry => ({
  name,
  type: 'directory',
  mode: 0o755,
  ...more,
});
const symlink = (name: string, linkname: string): RawEntry => ({ name, type: 'symlink', linkname });
const link = (name: string, linkname: string): RawEntry => ({ name, type: 'link', linkname });

class Outside extends TestFolder {
  readonly root = this.at('a/b/root');

  constructor() {
    super();
    mkdirSync(this.root, { recursive: true });
    writeFileSync(this.at('secret'), 'of the host');
  }

  async unpack(layers: readonly (readonly RawEntry[])[], limits: Partial<ImageLimits> = {}, owns?: boolean) {
    const tree = new ImageTree({
      folder: this.root,
      limits: { ...defaultImageLimits, ...limits },
      ...(owns === undefined ? {} : { owns }),
    });
    for (const layer of layers) await tree.add(once(await tarOf(layer)), signal);
    return tree.finish();
  }

  /** Everything beside the root is as it was. */
  expectUnharmed(): void {
    expect(readdirSync(this.path).sort()).toEqual(['a', 'secret']);
    expect(readdirSync(this.at('a'))).toEqual(['b']);
    expect(readdirSync(this.at('a/b'))).toEqual(['root']);
    expect(readFileSync(this.at('secret'), 'utf8')).toBe('of the host');
    expect(statSync(this.at('secret')).nlink).toBe(1);
  }

  text(path: string): string {
    return readFileSync(this.at('a/b/root', path), 'utf8');
  }

  has(path: string): boolean {
    return lstatSync(this.at('a/b/root', path), { throwIfNoEntry: false }) !== undefined;
  }
}

describe('an image that is refused', () => {
  const long = 'n'.repeat(200);
  test.each<[string, readonly (readonly RawEntry[])[], ImageFault, Partial<ImageLimits>?]>([
    ['a name that leaves', [[{ name: '../evil' }]], 'IMAGE_INVALID'],
    ['a name that leaves on the way', [[{ name: 'x/../../evil' }]], 'IMAGE_INVALID'],
    ['a name that comes back', [[{ name: '../root/evil' }]], 'IMAGE_INVALID'],
    ['an absolute name', [[{ name: '/tmp/evil' }]], 'IMAGE_INVALID'],
    ['an absolute folder', [[folder('/')]], 'IMAGE_INVALID'],
    ['a long name that leaves (PAX)', [[{ name: `../${'d/'.repeat(100)}${long}` }]], 'IMAGE_INVALID'],
    ['the root as a file', [[{ name: './', type: 'symlink', linkname: '/etc' }]], 'IMAGE_INVALID'],
    ['a hard link that leaves', [[link('x', '../../../secret')]], 'IMAGE_INVALID'],
    ['an absolute hard link', [[link('x', '/etc/passwd')]], 'IMAGE_INVALID'],
    ['a hard link to what is not there', [[link('x', 'y')]], 'IMAGE_INVALID'],
    ['a hard link to a folder', [[folder('d'), link('x', 'd')]], 'IMAGE_INVALID'],
    ['a hard link in the place of its target’s folder', [[{ name: 'd/f' }, link('d', 'd/f')]], 'IMAGE_INVALID'],
    ['a whiteout of the folder itself', [[{ name: 'd/.wh..' }]], 'IMAGE_INVALID'],
    ['a whiteout of the folder above', [[{ name: '.wh...' }]], 'IMAGE_INVALID'],
    ['a whiteout of nothing', [[{ name: '.wh.' }]], 'IMAGE_INVALID'],
    ['a file below a whiteout', [[{ name: '.wh.d/x' }]], 'IMAGE_INVALID'],
    ['a file below a file', [[{ name: 'f' }, { name: 'f/x' }]], 'IMAGE_INVALID'],
    ['links that lead in a ring', [[symlink('a', 'b'), symlink('b', 'a'), { name: 'a/x' }]], 'IMAGE_INVALID'],
    ['a link to nowhere', [[{ name: 'l', type: 'symlink', linkname: `${'x'.repeat(5_000)}` }]], 'IMAGE_INVALID'],
    ['a name that is no UTF-8', [[{ name: 'a\uFFFDb' }]], 'IMAGE_INVALID'],
    ['an owner that is none', [[{ name: 'f', pax: { uid: '-1' } }]], 'IMAGE_INVALID'],
    ['an owner that is no number', [[{ name: 'f', pax: { gid: 'x' } }]], 'IMAGE_INVALID'],
    [
      'a sparse file',
      [[{ name: 'f', pax: { 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '999' } }]],
      'IMAGE_UNSUPPORTED',
    ],
    ['too many entries', [[{ name: 'a' }], [{ name: 'b' }, { name: 'c' }]], 'IMAGE_TOO_LARGE', { entriesMax: 2 }],
    ['too large a file', [[{ name: 'a', text: 'xxxx' }]], 'IMAGE_TOO_LARGE', { fileBytesMax: 3 }],
    [
      'too many bytes, removed ones too',
      [[{ name: 'a', text: 'xx' }], [{ name: 'a', text: 'xx' }]],
      'IMAGE_TOO_LARGE',
      { unpackedBytesMax: 3 },
    ],
    ['too long a path', [[{ name: 'd/'.repeat(60) + 'f' }]], 'IMAGE_TOO_LARGE', { pathBytesMax: 100 }],
    ['too long a name', [[{ name: 'n'.repeat(256) }]], 'IMAGE_TOO_LARGE'],
    ['too deep a path', [[{ name: 'd/'.repeat(11) + 'f' }]], 'IMAGE_TOO_LARGE', { depthMax: 10 }],
    [
      'too deep through a link',
      [[{ name: 'd/d/d/d/d/d/f' }, symlink('l', 'd/d/d/d/d/d'), { name: 'l/e/e/e/e/e/f' }]],
      'IMAGE_TOO_LARGE',
      { depthMax: 10 },
    ],
    ['too many names', [[{ name: long }, { name: `${long}x` }]], 'IMAGE_TOO_LARGE', { namesBytesMax: 300 }],
  ])('%s', async (_, layers, code, limits) => {
    using outside = new Outside();
    await expect(outside.unpack(layers, limits)).rejects.toEqual(withCode(code));
    outside.expectUnharmed();
  });

  test('a sparse file of old GNU tar, an archive that ends early, one that is none', async () => {
    using outside = new Outside();
    const sparse = await tarOf([{ name: 'f', text: 'x' }]);
    sparse[156] = 'S'.charCodeAt(0);
    sparse.fill(' ', 148, 156);
    sparse.write(
      `${sparse
        .subarray(0, 512)
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    const add = (bytes: Uint8Array) =>
      new ImageTree({ folder: outside.root, limits: defaultImageLimits }).add(once(bytes), signal);
    await expect(add(sparse)).rejects.toEqual(withCode('IMAGE_UNSUPPORTED'));
    const whole = await tarOf([{ name: 'f', text: 'x'.repeat(2_000) }]);
    for (const length of [100, 600, 1_500])
      await expect(add(whole.subarray(0, length))).rejects.toEqual(withCode('IMAGE_INVALID'));
    await expect(add(Buffer.alloc(2_048, 'no archive'))).rejects.toEqual(withCode('IMAGE_INVALID'));
    outside.expectUnharmed();
  });
});

describe('links never lead out', () => {
  test.each<[string, readonly (readonly RawEntry[])[], string]>([
    ['to an absolute path', [[symlink('l', '/inside'), { name: 'l/f', text: 'here' }]], 'inside/f'],
    ['upwards', [[symlink('l', '../../..'), { name: 'l/f', text: 'here' }]], 'f'],
    ['made by the layer below', [[symlink('d/l', '../../../../..')], [{ name: 'd/l/f', text: 'here' }]], 'f'],
    ['through another link', [[symlink('a', '/b'), symlink('b', '../../c')], [{ name: 'a/f', text: 'here' }]], 'c/f'],
    ['where a file takes the place of a link', [[symlink('f', '../../../secret')], [{ name: 'f', text: 'here' }]], 'f'],
    [
      'where a folder takes the place of a link',
      [[symlink('d', '../../..')], [folder('d'), { name: 'd/f', text: 'here' }]],
      'd/f',
    ],
    [
      'as it is on a merged /usr',
      [[folder('usr/lib'), symlink('lib', 'usr/lib')], [{ name: 'lib/f', text: 'here' }]],
      'usr/lib/f',
    ],
  ])('%s', async (_, layers, path) => {
    using outside = new Outside();
    await outside.unpack(layers);
    outside.expectUnharmed();
    expect(outside.text(path)).toBe('here');
  });

  test('nor does a hard link to one, a whiteout through one, or one in the place of a mount point', async () => {
    using outside = new Outside();
    await outside.unpack([
      [symlink('l', '../../../secret'), symlink('up', '../../..'), symlink('tmp', '/../../..'), symlink('proc', 'usr')],
      [link('hard', 'l'), { name: 'up/.wh.secret' }, { name: 'up/.wh.a' }],
    ]);
    outside.expectUnharmed();
    expect(readlinkSync(outside.at('a/b/root/hard'))).toBe('../../../secret');
    expect(lstatSync(outside.at('a/b/root/tmp')).isDirectory()).toBe(true);
    expect(lstatSync(outside.at('a/b/root/tmp')).mode & 0o7777).toBe(0o1777);
    expect(lstatSync(outside.at('a/b/root/proc')).isDirectory()).toBe(true);
  });
});

describe('layers', () => {
  test('a whiteout removes what lower layers have, whatever stands before it in its own', async () => {
    using outside = new Outside();
    await outside.unpack([
      [{ name: 'd/old' }, { name: 'd/kept' }, { name: 'gone/x' }, { name: 'both/old' }],
      [
        { name: 'both/new' },
        { name: '.wh.gone' },
        { name: 'd/.wh.old' },
        { name: '.wh.both' },
        { name: 'd/.wh.never' },
        { name: '.wh..wh.plnk' },
      ],
    ]);
    expect(['d/old', 'd/kept', 'gone', 'both/old', 'both/new'].map((path) => outside.has(path))).toEqual([
      false,
      true,
      false,
      false,
      true,
    ]);
  });

  test('an opaque whiteout empties a folder of what is below, first or last', async () => {
    for (const isFirst of [true, false]) {
      using outside = new Outside();
      const opaque: RawEntry = { name: 'd/.wh..wh.opq' };
      const own: RawEntry[] = [{ name: 'd/new' }, { name: 'd/deep/new' }];
      await outside.unpack([
        [{ name: 'd/old' }, { name: 'd/deep/old' }, { name: 'd/deep/er/old' }, { name: 'e/kept' }],
        isFirst ? [opaque, ...own] : [...own, opaque],
        [{ name: 'nowhere/.wh..wh.opq' }],
      ]);
      expect(
        ['d/old', 'd/deep/old', 'd/deep/er', 'd/new', 'd/deep/new', 'e/kept'].map((path) => outside.has(path)),
      ).toEqual([...[false, false, false], ...[true, true, true]]);
    }
  });

  test('a later entry takes the place of an earlier one, of whatever kind; what shares its bytes keeps them', async () => {
    using outside = new Outside();
    await outside.unpack([
      [
        { name: 'a', text: 'one' },
        link('b', 'a'),
        { name: 'd/x' },
        { name: 'f' },
        { name: 'twice', text: '1' },
        { name: 'twice', text: '2' },
      ],
      [{ name: 'a', text: 'two' }, { name: 'd', text: 'file' }, folder('f'), { name: 'f/x' }],
    ]);
    expect(['a', 'b', 'd', 'twice'].map((path) => outside.text(path))).toEqual(['two', 'one', 'file', '2']);
    expect(outside.has('f/x')).toBe(true);
  });

  test('what sandboxes have of their own, devices and pipes are dropped, by whatever name', async () => {
    using outside = new Outside();
    await outside.unpack([
      [
        ...[
          { name: '.drover/agent' },
          { name: './.hpcc/agent' },
          symlink('l', '.drover'),
          { name: 'l/agent' },
          symlink('.drover', 'x'),
        ],
        ...[
          { name: 'dev/null', type: 'character-device' } as const,
          { name: 'p', type: 'fifo' } as const,
          link('n', 'dev/null'),
        ],
      ],
    ]);
    expect(readdirSync(outside.root).sort()).toEqual(['dev', 'l', 'proc', 'run', 'sys', 'tmp']);
    expect(readdirSync(outside.at('a/b/root/dev'))).toEqual([]);
  });

  test('names of any length come through, and a large file is whole', async () => {
    using outside = new Outside();
    const deep = `${'d'.repeat(120)}/`.repeat(3);
    const large = Buffer.alloc(3 * 1024 * 1024, 'drover');
    const { sizeBytes } = await outside.unpack([
      [{ name: `${deep}ü`, text: 'x' }, symlink('l', `${deep}ü`), { name: 'large', text: large }],
    ]);
    expect(outside.text(`${deep}ü`)).toBe('x');
    expect(outside.text('l')).toBe('x');
    expect(readFileSync(outside.at('a/b/root/large')).equals(large)).toBe(true);
    expect(sizeBytes).toBeGreaterThan(large.byteLength);
  });

  test('another user’s files are readable by that user, and what the image says of them is recorded', async () => {
    using outside = new Outside();
    const { entries } = await outside.unpack(
      [
        [
          folder('d', { mode: 0o555, uid: 7 }),
          { name: 'd/f', mode: 0o4000, uid: 1_000, gid: 5 },
          link('d/g', 'd/f'),
          { name: 'gone' },
        ],
        [{ name: '.wh.gone' }, { name: 'd/later', mode: 0o6755 }],
      ],
      {},
      false,
    );
    const own = entries.filter(({ path }) => path.startsWith('d') && !path.startsWith('dev'));
    expect(own).toEqual([
      { path: 'd', uid: 7, gid: 0, mode: 0o555 },
      { path: 'd/f', uid: 1_000, gid: 5, mode: 0 },
      { path: 'd/g', uid: 1_000, gid: 5, mode: 0 },
      { path: 'd/later', uid: 0, gid: 0, mode: 0o755 },
    ]);
    expect(entries.some(({ path }) => path === 'gone')).toBe(false);
    expect(lstatSync(outside.at('a/b/root/d')).mode & 0o777).toBe(0o755);
    expect(lstatSync(outside.at('a/b/root/d/f')).mode & 0o7777).toBe(0o600);
  });

  test.skipIf(process.getuid?.() !== 0)('root gives files their owners [limits:root-only]', async () => {
    using outside = new Outside();
    const { entries } = await outside.unpack([
      [folder('d', { uid: 7 }), { name: 'f', uid: 1_000, gid: 5, mode: 0o6750 }, symlink('l', 'f')],
    ]);
    expect(entries).toEqual([]);
    const { uid, gid, mode } = lstatSync(outside.at('a/b/root/f'));
    expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 1_000, gid: 5, mode: 0o750 });
    expect(existsSync(outside.at('a/b/root/l'))).toBe(true);
  });
});
