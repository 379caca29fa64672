import { create, toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { createMemoryContentStore, digestOfBytes } from '@drover/content-store';
import { payloadTypeOf } from '@drover/lease-kit';
import { expect, test } from 'vitest';
import {
  inlinePayloadBytesMax,
  payloadReference,
  referencedDigest,
  resolvePayload,
  withReferencedPayload,
} from './payload-reference.ts';

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

test('a reference to too much, or to another type than it says, is refused before anything is made of it', async () => {
  await using blobs = createMemoryContentStore();
  const huge = payloadReference('x.Work', { hash: '0'.repeat(64), sizeBytes: 2 ** 40 });
  await expect(resolvePayload(huge, blobs)).rejects.toMatchObject({ code: 'PAYLOAD_REFERENCE_INVALID' });
  const bytes = toBinary(AnySchema, payload(3));
  const digest = digestOfBytes(bytes);
  await blobs.write(digest, bytes);
  await expect(resolvePayload(payloadReference('x.Other', digest), blobs)).rejects.toMatchObject({
    code: 'PAYLOAD_REFERENCE_INVALID',
  });
});

test('a small payload stays where it is', async () => {
  await using blobs = createMemoryContentStore();
  const small = payload(inlinePayloadBytesMax);
  expect(await withReferencedPayload({ payload: small }, blobs)).toEqual({ draft: { payload: small } });
  expect(referencedDigest(small)).toBeUndefined();
  expect(await resolvePayload(small, blobs)).toBe(small);
});
