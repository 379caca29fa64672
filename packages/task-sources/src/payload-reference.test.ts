import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { createMemoryContentStore } from '@drover/content-store';
import { payloadTypeOf } from '@drover/lease-kit';
import { expect, test } from 'vitest';
import { inlinePayloadBytesMax, referencedDigest, resolvePayload, withReferencedPayload } from './payload-reference.ts';

const payload = (sizeBytes: number) =>
  create(AnySchema, { typeUrl: 'type.googleapis.com/x.Work', value: new Uint8Array(sizeBytes).fill(7) });

test('a large payload becomes a reference that keeps its type and comes back whole', async () => {
  await using blobs = createMemoryContentStore();
  const large = payload(inlinePayloadBytesMax + 1);
  const { draft, digest } = await withReferencedPayload({ payload: large }, blobs);
  expect(payloadTypeOf(draft.payload)).toBe('x.Work');
  expect(referencedDigest(draft.payload)).toEqual(digest);
  expect(draft.payload.value.byteLength).toBeLessThan(100);
  expect(await resolvePayload(draft.payload, blobs)).toEqual(large);
});

test('a small payload stays where it is', async () => {
  await using blobs = createMemoryContentStore();
  const small = payload(inlinePayloadBytesMax);
  expect(await withReferencedPayload({ payload: small }, blobs)).toEqual({ draft: { payload: small } });
  expect(referencedDigest(small)).toBeUndefined();
  expect(await resolvePayload(small, blobs)).toBe(small);
});
