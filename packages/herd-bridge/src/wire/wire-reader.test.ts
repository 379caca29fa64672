import { describe, expect, test } from 'vitest';
import { WireReader } from './index.ts';

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text, 'latin1');
}

async function items(...texts: readonly string[]): Promise<string[]> {
  const reader = new WireReader(pieces(...texts));
  const found: string[] = [];
  for (let item = await reader.nextItem(); item !== undefined; item = await reader.nextItem()) {
    found.push(`${item.tag}=${item.text}`);
  }
  return found;
}

describe('messages', () => {
  test('are found whole, split anywhere, and glued together', async () => {
    const text = '<Internal>You are mine now!</Internal><unit-a><Progress>12.5</Progress></unit-a>';
    const expected = ['Internal=You are mine now!', 'unit-a=<Progress>12.5</Progress>'];
    expect(await items(text)).toEqual(expected);
    expect(await items(...text)).toEqual(expected);
    for (let at = 1; at < text.length; at++) expect(await items(text.slice(0, at), text.slice(at))).toEqual(expected);
  });

  test('with a newline, and what stands between them, are skipped', async () => {
    expect(await items('\0junk<a>1\n2</a>\0<b>3</b>')).toEqual(['b=3']);
    expect(await items('<a <b>x</b>')).toEqual(['b=x']);
    expect(await items('<a><b>1</b>')).toEqual(['b=1']);
    expect(await items('<><End>Ok</End></>')).toEqual(['=<End>Ok</End>']);
    expect(await items('</a></a><b></b>')).toEqual(['b=']);
  });

  test('an eager reader does not wait for the end of what stands around one', async () => {
    const waiting = Promise.withResolvers<IteratorResult<Uint8Array>>();
    const source = {
      async *[Symbol.asyncIterator]() {
        yield Buffer.from('<x><Inter');
        yield Buffer.from('nal>Stop</Internal>');
        await waiting.promise;
      },
    };
    const item = await new WireReader(source).nextItem({ isEager: true });
    expect(item).toEqual({ tag: 'Internal', text: 'Stop' });
    waiting.resolve({ done: true, value: undefined });
  });
});

describe('a job', () => {
  test('with every kind of tag and binary content', async () => {
    const text =
      '<Internal>You are mine now!</Internal><Job Name="Job #0">' +
      '<Task Name="unit-a" Exe="bin/task.sh" Arguments="conf/a.txt -pipe=unit-a" Pipe="unit-a"/>' +
      '<Input Name="bin/task.sh" Size="10"></Input>\xff\n</Input>\n<Input Name="empty" Size="0"></Input>' +
      '<Output Name="conf/out.bin"/></Job><Internal>Stop</Internal>';
    for (const size of [1, 7, 64, 4096]) {
      const reader = new WireReader(pieces(...(text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [])));
      expect(await reader.nextItem({ isEager: true })).toEqual({ tag: 'Internal', text: 'You are mine now!' });
      expect(await reader.nextJob()).toEqual({ kind: 'job', name: 'Job #0' });
      expect(await reader.nextTag()).toMatchObject({
        kind: 'task',
        arguments: 'conf/a.txt -pipe=unit-a',
        pipe: 'unit-a',
      });
      expect(await reader.nextTag()).toEqual({ kind: 'input', name: 'bin/task.sh', sizeBytes: 10 });
      const content: Uint8Array[] = [];
      for await (const piece of reader.content()) content.push(piece);
      expect(Buffer.concat(content).toString('latin1')).toBe('</Input>\xff\n');
      expect(await reader.nextTag()).toEqual({ kind: 'input', name: 'empty', sizeBytes: 0 });
      expect(await reader.nextTag()).toEqual({ kind: 'output', name: 'conf/out.bin', sizeBytes: undefined });
      expect(await reader.nextTag()).toEqual({ kind: 'job-end' });
      expect(await reader.nextItem({ isEager: true })).toEqual({ tag: 'Internal', text: 'Stop' });
      expect(await reader.nextItem({ isEager: true })).toBeUndefined();
    }
  });
});
