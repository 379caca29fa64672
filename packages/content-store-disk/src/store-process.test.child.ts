/** A process of its own on a store's folder, for `several-processes.test.ts`: `node FILE ROLE DIRECTORY SEED`. */
import { digestOfBytes } from '@drover/content-store';
import { sampleBytes } from '@drover/content-store/testing';
import { createDiskContentStore } from './index.ts';

const [role, directory, seedText] = process.argv.slice(2);
const seed = Number(seedText);
const store = await createDiskContentStore({ directory: directory!, sizeBytesMax: 4 * 1024 * 1024 });

if (role === 'churn') {
  // Shared blobs that every process writes, pinned ones that must stay, and others that push each other out.
  for (let round = 0; round < 15; round++) {
    const shared = sampleBytes(100_000, round);
    const own = sampleBytes(150_000, seed * 1000 + round);
    const pinned = sampleBytes(30_000, seed * 1000 + 500 + round);
    await Promise.all([
      store.write(digestOfBytes(shared), shared),
      store.write(digestOfBytes(own), own),
      store.write(digestOfBytes(pinned), pinned),
    ]);
    const missing = await store.pin([digestOfBytes(pinned)], { owner: `process:${seed}` });
    if (missing.length > 0) {
      // It was pushed out before it was pinned: allowed, and the answer to it is to write it again.
      await store.write(digestOfBytes(pinned), pinned);
      if ((await store.pin(missing, { owner: `process:${seed}` })).length > 0) throw new Error('pushed out twice');
    }
  }
  await store[Symbol.asyncDispose]();
} else if (role === 'stall') {
  // Gives all but the last byte and waits to be killed.
  const bytes = sampleBytes(1_000_000, seed);
  const upload = await store.openUpload('resumable', digestOfBytes(bytes));
  await upload.append(bytes.subarray(0, 600_000));
  const stalled = async function* (): AsyncGenerator<Uint8Array> {
    yield bytes.subarray(0, 999_999);
    process.send?.('stalled');
    await new Promise(() => setInterval(() => undefined, 1000));
  };
  await store.write(digestOfBytes(bytes), stalled());
}
