import type { WorkerConfig, WorkerImages } from '@drover/compile-service/worker';
import { DroverError } from '@drover/lease-kit';
import type { PreparedImage, SandboxDriver } from '@drover/vm-runtime';

/**
 * Images that stand unpacked on this machine, by `image.folders`. For `really_really_dangerous`, which has none, whatever is asked
 * for counts as present.
 */
export function unpackedImages({ image }: WorkerConfig, driver: SandboxDriver): WorkerImages {
  const folders = new Map(
    image.folders.map((text) => [text.slice(0, text.indexOf('=')), text.slice(text.indexOf('=') + 1)]),
  );
  const prepared = new Map<string, Promise<PreparedImage>>();
  const held = new Set<string>();
  return {
    use: async ({ digest }, signal) => {
      const folder = folders.get(digest) ?? (driver.imageForm === 'none' ? '/' : undefined);
      if (folder === undefined) {
        throw new DroverError({
          code: 'IMAGE_NOT_FOUND',
          advice: 'not-found',
          message: `this worker has no image ${digest}; image.folders names ${folders.size}`,
        });
      }
      const making =
        prepared.get(digest) ??
        driver.prepareImage({ digest, folder, entries: [], sizeBytes: 0 }, AbortSignal.timeout(prepareMs));
      prepared.set(digest, making);
      making.catch(() => prepared.delete(digest));
      const made = await making;
      signal.throwIfAborted();
      if (held.size < heldMax) held.add(digest);
      return { image: made, release: () => undefined };
    },
    held: () => [...held].map((digest) => ({ digest })),
    advertised: () => [...new Set([...image.advertised_digests, ...folders.keys()])],
  };
}

const prepareMs = 600_000;
const heldMax = 1_000;
