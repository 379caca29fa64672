import fc from 'fast-check';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { tailSpool, type TailSpoolOptions } from './tail-spool.ts';

const never = new AbortController().signal;
let dir: string;
let path: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-tail-'));
  path = join(dir, 'out.log');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function readAll(options: Partial<TailSpoolOptions>): Promise<{ text: string; offsets: number[] }> {
  let text = '';
  const offsets: number[] = [];
  for await (const { offset, bytes } of tailSpool(path, { ended: Promise.resolve(), signal: never, ...options })) {
    offsets.push(offset);
    text += Buffer.from(bytes).toString('latin1');
  }
  return { text, offsets };
}

test('what is written while it reads comes once and in order, whatever the pieces', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ minLength: 1, maxLength: 300, unit: 'binary-ascii' }), { maxLength: 12 }),
      async (pieces) => {
        rmSync(path, { force: true });
        const ended = Promise.withResolvers<void>();
        const reading = readAll({ ended: ended.promise, chunkBytesMax: 64, pollMs: 5 });
        for (const piece of pieces) {
          appendFileSync(path, piece);
          await new Promise(setImmediate);
        }
        ended.resolve();
        const { text, offsets } = await reading;
        expect(text).toBe(pieces.join(''));
        expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
      },
    ),
    { numRuns: 40 },
  );
});

test('a poll finds what no hint told, also in a folder that is not there yet', async () => {
  rmSync(dir, { recursive: true });
  const ended = Promise.withResolvers<void>();
  const tail = tailSpool(path, { ended: ended.promise, signal: never, pollMs: 5 });
  const first = tail.next();
  const { mkdirSync } = await import('node:fs');
  mkdirSync(dir);
  writeFileSync(path, 'hello');
  expect(Buffer.from((await first).value!.bytes).toString()).toBe('hello');
  ended.reject(new Error('the end is the end, however it came'));
  expect(await tail.next()).toEqual({ done: true, value: undefined });
});

test('from an offset, up to an offset, and in bounded pieces', async () => {
  writeFileSync(path, '0123456789');
  expect(await readAll({ fromOffset: 3, offsetMax: 8, chunkBytesMax: 2 })).toEqual({
    text: '34567',
    offsets: [3, 5, 7],
  });
  expect(await readAll({ fromOffset: 10 })).toEqual({ text: '', offsets: [] });
  await expect(readAll({ fromOffset: 11 })).rejects.toMatchObject({ code: 'SPOOL_OFFSET_INVALID' });
});

test('an abort ends the wait and throws its reason', async () => {
  const abort = new AbortController();
  const tail = tailSpool(path, { ended: new Promise(() => undefined), signal: abort.signal, pollMs: 60_000 });
  const next = tail.next();
  abort.abort(new Error('the reader went away'));
  await expect(next).rejects.toThrow('the reader went away');
});
