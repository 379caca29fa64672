import { createMemoryContentStore, digestOfBytes } from '@drover/content-store';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fetchBundle } from './fetch-bundle.ts';

test('a file that is there is taken for the bundle only if it has its bytes, not for its name and size', async () => {
  const stateDir = mkdtempSync(join(tmpdir(), 'drover-fetch-'));
  await using parts = new AsyncDisposableStack();
  parts.defer(() => rmSync(stateDir, { recursive: true }));
  const content = parts.use(createMemoryContentStore());
  const signed = Buffer.from('what was signed');
  const digest = digestOfBytes(signed);
  await content.write(digest, signed);
  let fetched = 0;
  const deps = { content, stateDir, signal: new AbortController().signal, onProgress: () => void (fetched += 1) };
  writeFileSync(join(stateDir, `${digest.hash}.tar.gz`), 'what was forged');
  expect(readFileSync(await fetchBundle(digest, deps))).toEqual(signed);
  expect(fetched).toBe(1);
  await fetchBundle(digest, deps);
  expect(fetched).toBe(1);
});
