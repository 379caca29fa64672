import { expect, test } from 'vitest';
import { PipeItemReader } from './pipe-item-reader.ts';

const read = (text: string, raw = false) => {
  const reader = new PipeItemReader({ raw });
  return [...reader.push(Buffer.from(text)), ...reader.end()];
};

test('items of every kind, with NULs, newlines and junk between and within', () => {
  const text = [
    'junk<Progress>12.500000</Progress>\0\0',
    '<Evaluation>0.5,-1e-3</Evaluation>\n',
    '<Message>WARNING: a < b\nand more</Message>',
    '<Error>ERROR: out of\0 luck</Error><Unknown>x</Unknown>',
    '<Progress>250</Progress><Progress>half</Progress><Evaluation>1,2,3</Evaluation><Evaluation>nan,1</Evaluation>',
    '<End></End><Message>too late</Message>',
  ].join('');
  expect(read(text)).toEqual([
    { kind: 'progress', percent: 12.5 },
    { kind: 'evaluation', x: 0.5, y: -0.001 },
    { kind: 'message', text: 'WARNING: a < b\nand more' },
    { kind: 'error', text: 'ERROR: out of luck' },
    { kind: 'progress', percent: 100 },
    { kind: 'end' },
  ]);
});

test('raw items come as they were written, whatever their tag', () => {
  expect(
    read('a < b > c <Progress>12.500000</Progress>\0<Custom-1>x\0</Custom-1><End>no</End><End></End><a>b</a>', true),
  ).toEqual([
    { kind: 'raw', text: '<Progress>12.500000</Progress>' },
    { kind: 'raw', text: '<Custom-1>x</Custom-1>' },
    { kind: 'raw', text: '<End>no</End>' },
    { kind: 'end' },
  ]);
});

test('an item that never ends hides no more than its own bound, and is kept no longer', () => {
  const reader = new PipeItemReader({ itemLengthMax: 100 });
  expect(reader.push(Buffer.from('<Message>never closed '))).toEqual([]);
  const items = [];
  for (let n = 0; n < 20; n++) items.push(...reader.push(Buffer.from(`<Progress>${n}</Progress>`)));
  items.push(...reader.end());
  expect(items.map((item) => (item.kind === 'progress' ? item.percent : item))).toEqual([...Array(20).keys()]);
  expect(reader.tooLong).toBe(1);
});

test('an endless item is not searched again and again', () => {
  const reader = new PipeItemReader({ itemLengthMax: 200_000 });
  reader.push(Buffer.from('<Message>'));
  const chunk = Buffer.alloc(1_000, 97);
  for (let n = 0; n < 300; n++) reader.push(chunk);
  expect(reader.tooLong).toBe(1);
});
