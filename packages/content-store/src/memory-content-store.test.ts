import { ManualClock } from '@drover/lease-kit/testing';
import { describe, test } from 'vitest';
import { createMemoryContentStore, type MemoryContentStoreOptions } from './memory-content-store.ts';
import type { LocalContentStore } from './local-content-store.ts';
import { blobPinsCases, blobUploadsCases, contentStoreCases } from './testing/index.ts';

function subject(options: MemoryContentStoreOptions): { store: LocalContentStore; advanceMs(ms: number): void } {
  const clock = new ManualClock();
  return { store: createMemoryContentStore(options, { clock }), advanceMs: (ms) => clock.advance(ms) };
}

describe('the memory store as a content store', () => {
  test.each(contentStoreCases)('$name', ({ run }) => run(createMemoryContentStore()));
});
describe('the memory store as a place of uploads', () => {
  test.each(blobUploadsCases)('$name', ({ run }) => run(subject({ sizeBytesMax: 4 * 1024 * 1024, uploadsMax: 3 })));
});
describe('the memory store under its cap', () => {
  test.each(blobPinsCases)('$name', ({ run }) => run(subject({ sizeBytesMax: 1024 * 1024, pinOwnersMax: 4 })));
});
