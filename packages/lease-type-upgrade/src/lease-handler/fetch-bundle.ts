import { createReadStream } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createDigestHasher,
  digestEquals,
  digestOfStream,
  formatDigest,
  type ContentStore,
  type Digest,
} from '@drover/content-store';
import { DroverError } from '@drover/lease-kit';

/** Where a bundle comes from and goes to. */
export interface FetchBundleDeps {
  readonly content: ContentStore;
  /** The agent's own, on the disk of the versions. */
  readonly stateDir: string;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/**
 * Fetches an archive; answers the file, whose bytes are those of `digest`. One that is there already and has them is taken.
 * Throws `BUNDLE_UNAVAILABLE`, `BUNDLE_DIGEST_WRONG` and the signal's reason.
 */
export async function fetchBundle(digest: Digest, deps: FetchBundleDeps): Promise<string> {
  const file = join(deps.stateDir, `${digest.hash}.tar.gz`);
  const there = await stat(file).catch(() => undefined);
  // The signature is of these bytes: a name and a size say nothing of what others may have put there since.
  if (there?.size === digest.sizeBytes && digestEquals(await digestOfStream(createReadStream(file)), digest))
    return file;
  const partial = `${file}.partial`;
  const handle = await open(partial, 'w', 0o600);
  const hasher = createDigestHasher();
  try {
    for await (const chunk of deps.content.read(digest, { signal: deps.signal })) {
      hasher.update(chunk);
      if (hasher.sizeBytes > digest.sizeBytes) break;
      await handle.writeFile(chunk);
      deps.onProgress(hasher.sizeBytes);
    }
    await handle.sync();
  } catch (error) {
    await rm(partial, { force: true });
    if (deps.signal.aborted) throw deps.signal.reason;
    throw new DroverError({
      code: 'BUNDLE_UNAVAILABLE',
      advice: 'unavailable',
      message: `the bundle ${formatDigest(digest)} cannot be fetched: ${error instanceof Error ? error.message : String(error)}`,
      cause: error,
    });
  } finally {
    await handle.close();
  }
  if (!digestEquals(hasher.digest(), digest)) {
    await rm(partial, { force: true });
    throw new DroverError({
      code: 'BUNDLE_DIGEST_WRONG',
      advice: 'fix-input',
      message: `the content store gave other bytes than those of the bundle ${formatDigest(digest)}`,
    });
  }
  await rename(partial, file);
  return file;
}
