import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PipeItemReader } from './pipe-item-reader.ts';
import type { PipeItem } from './pipe-item.ts';

/** Pieces that are close to items, so that half of the inputs hold some. */
const pieces = fc.array(
  fc.oneof(
    fc.constantFrom(
      '<Progress>12.5</Progress>\0',
      '<Evaluation>1,-2e3</Evaluation>',
      '<Message>two\nlines</Message>\0',
      '<Error>no</Error>',
      '<Message>',
      '</Message>',
      '<Prog',
      'ress>7</Progress>',
      '<',
      '\0',
      '<Progress>x</Progress>',
      '<b>bold</b>',
      'é',
    ),
    fc.string({ maxLength: 12 }),
  ),
  { maxLength: 25 },
);

function readIn(chunks: readonly Uint8Array[], raw: boolean): PipeItem[] {
  const reader = new PipeItemReader({ itemLengthMax: 60, raw });
  return [...chunks.flatMap((chunk) => reader.push(chunk)), ...reader.end()];
}

function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...chunks, bytes.subarray(at)];
}

test('how bytes are cut makes no difference, and what is kept is bounded', () => {
  fc.assert(
    fc.property(pieces, fc.array(fc.nat(9)), fc.boolean(), (parts, lengths, raw) => {
      const bytes = Buffer.from(parts.join(''));
      expect(readIn(cut(bytes, lengths), raw)).toEqual(readIn([bytes], raw));
    }),
    { numRuns: 500 },
  );
});

test('any bytes at all are read to their end, and an item after them is found', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (junk, raw) => {
      const reader = new PipeItemReader({ itemLengthMax: 60, raw });
      const items = [...reader.push(junk), ...reader.push(Buffer.from('>\0<Message>after</Message>')), ...reader.end()];
      const last = items.at(-1);
      if (items.some(({ kind }) => kind === 'end')) return;
      expect(last).toEqual(
        raw ? { kind: 'raw', text: '<Message>after</Message>' } : { kind: 'message', text: 'after' },
      );
    }),
    { numRuns: 500 },
  );
});
