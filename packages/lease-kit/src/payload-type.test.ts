import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { payloadTypeOf } from './payload-type.ts';

test('a packed message goes by its type name', () => {
  expect(payloadTypeOf(anyPack(StringValueSchema, create(StringValueSchema)))).toBe(StringValueSchema.typeName);
});

test.each([
  ['type.googleapis.com/x.Work', 'x.Work'],
  ['a/b/c/x.Work', 'x.Work'],
  ['/x.Work', 'x.Work'],
  ['x.Work', 'x.Work'],
  ['x.Work/', ''],
  ['', ''],
])('of %j the name is %j', (typeUrl, name) => {
  expect(payloadTypeOf({ typeUrl })).toBe(name);
});
