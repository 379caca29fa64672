import { expect, test } from 'vitest';
import { digestOfBytes } from './digest.ts';
import { digestFromWire, digestToWire } from './wire-digest.ts';

const { hash } = digestOfBytes(Buffer.from('hello'));

test('a digest comes back as it went', () => {
  expect(digestToWire({ hash, sizeBytes: 5 })).toEqual({ hash, sizeBytes: 5n });
  expect(digestFromWire(digestToWire({ hash, sizeBytes: 5 }))).toEqual({ hash, sizeBytes: 5 });
});

test.each([
  { hash: '', sizeBytes: 0n },
  { hash: hash.toUpperCase(), sizeBytes: 5n },
  { hash, sizeBytes: -1n },
  { hash, sizeBytes: 2n ** 53n },
])('$hash/$sizeBytes is refused', (wire) => {
  expect(() => digestFromWire(wire)).toThrow(expect.objectContaining({ code: 'DIGEST_INVALID' }));
});
