import { posix } from 'node:path';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createDigestHasher, digestOfBytes, digestOfStream, formatDigest, parseDigest } from './digest.ts';
import { checkSymlinkTarget, splitTreePath } from './tree-path.ts';
import { sampleBytes } from './testing/index.ts';
import { isZstdError, zstdCompressBytes, zstdCompressed, zstdDecompressBytes, zstdDecompressed } from './zstd.ts';
import { collectBytes } from './byte-source.ts';

const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 });

test('a digest does not depend on how the bytes are cut', () =>
  fc.assert(
    fc.asyncProperty(pieces, async (chunks) => {
      const whole = digestOfBytes(Buffer.concat(chunks));
      const hasher = createDigestHasher();
      for (const chunk of chunks) hasher.update(chunk);
      expect(hasher.digest()).toEqual(whole);
      expect(await digestOfStream(chunks)).toEqual(whole);
      expect(parseDigest(formatDigest(whole))).toEqual(whole);
    }),
  ));

test('nothing but a digest parses as one', () =>
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(() => parseDigest(text)).toThrow('is no digest');
    }),
  ));

test('a path that is taken never leaves its folder', () => {
  const part = fc.constantFrom('a', '..', '.', '', 'b c', '...');
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
      const path = parts.join('/');
      let taken: string[];
      try {
        taken = splitTreePath(path);
      } catch {
        return;
      }
      expect(posix.resolve('/root', path, 'x')).toBe(['/root', ...taken, 'x'].join('/'));
    }),
  );
});

test('a link that is taken reads as a place inside its tree', () => {
  const part = fc.constantFrom('a', '..', '.', 'b');
  const path = fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  fc.assert(
    fc.property(path, fc.array(part, { minLength: 1, maxLength: 6 }), (link, parts) => {
      try {
        checkSymlinkTarget(link, parts.join('/'));
      } catch {
        return;
      }
      let depth = link.split('/').length - 1;
      for (const step of parts) {
        if (step === '..') depth--;
        else if (step !== '.') depth++;
        expect(depth).toBeGreaterThanOrEqual(0);
      }
    }),
  );
});

async function* iterate(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

test('zstd gives back what it was given', () =>
  fc.assert(
    fc.asyncProperty(pieces, async (chunks) => {
      const whole = Buffer.concat(chunks);
      const streamed = await collectBytes(zstdCompressed(iterate(chunks)), 1_000_000);
      expect(Buffer.compare(await zstdDecompressBytes(streamed, whole.length), whole)).toBe(0);
    }),
    { numRuns: 30 },
  ));

test('zstd reads any number of frames, however they are cut', () => {
  const sizes = [0, 1, 200, 300, 70_000, 200_000];
  const frame = fc
    .record({ size: fc.constantFrom(...sizes), checksum: fc.boolean(), random: fc.boolean(), sized: fc.boolean() })
    .map(({ size, checksum, random, sized }) => {
      const bytes = random ? sampleBytes(size) : Buffer.alloc(size, 7);
      const params = {
        [zlib.constants.ZSTD_c_checksumFlag]: checksum ? 1 : 0,
        [zlib.constants.ZSTD_c_contentSizeFlag]: sized ? 1 : 0,
      };
      return { bytes, packed: zlib.zstdCompressSync(bytes, sized ? { params, pledgedSrcSize: size } : { params }) };
    });
  const skippable = fc.uint8Array({ maxLength: 50 }).map((content) => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(0x184d2a53);
    head.writeUInt32LE(content.length, 4);
    return { bytes: new Uint8Array(0), packed: Buffer.concat([head, content]) };
  });
  return fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(frame, skippable), { minLength: 1, maxLength: 5 }),
      fc.constantFrom(1, 3, 1000, 1_000_000),
      async (frames, cutBytes) => {
        const packed = Buffer.concat(frames.map((one) => one.packed));
        const step = packed.length > 5000 ? Math.max(cutBytes, 97) : cutBytes;
        const cut: Uint8Array[] = [];
        for (let at = 0; at < packed.length; at += step) cut.push(packed.subarray(at, at + step));
        const got = await collectBytes(zstdDecompressed(iterate(cut)), 2_000_000);
        expect(Buffer.compare(got, Buffer.concat(frames.map((one) => one.bytes)))).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

test('zstd refuses damage, cuts, bombs and what follows a frame', async () => {
  const packed = await zstdCompressBytes(new Uint8Array(10_000_000));
  await expect(zstdDecompressBytes(packed, 1_000_000)).rejects.toThrow(RangeError);
  const broken = [packed.subarray(0, -1), Buffer.from('no zstd at all'), Buffer.concat([packed, Buffer.from('more')])];
  for (const bytes of broken) {
    await expect(zstdDecompressBytes(bytes, 10_000_000)).rejects.toSatisfy(isZstdError);
  }
});
