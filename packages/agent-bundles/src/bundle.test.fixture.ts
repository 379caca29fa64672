import { chmodSync, createReadStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { pack, type Header } from 'tar-stream';
import type { BundleManifest } from './bundle-manifest.ts';

/** A folder that is gone with it. */
export class TestFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'drover-bundles-'));

  write(path: string, text: string, mode = 0o644): string {
    const full = join(this.path, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, text);
    chmodSync(full, mode);
    return full;
  }

  read(path: string): AsyncIterable<Uint8Array> {
    return createReadStream(join(this.path, path));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** An entry of an archive that nobody should make. */
export type RawEntry = Partial<Header> & { readonly name: string; readonly text?: string };

/** A manifest of these files, each with its own path as its text. */
export function manifestOf(paths: readonly string[], more: Partial<BundleManifest> = {}): BundleManifest {
  const file = (path: string) => ({
    path,
    sizeBytes: Buffer.byteLength(path),
    sha256: createHash('sha256').update(path).digest('hex'),
    executable: true,
  });
  return { format: 1, version: '1.0.0', platform: 'any', entry: 'run', files: paths.map(file), links: [], ...more };
}

/** The bytes of an archive with a manifest and whatever entries. */
export async function rawBundle(manifest: unknown, entries: readonly RawEntry[]): Promise<Uint8Array> {
  const tar = pack();
  tar.entry({ name: 'drover-bundle.json' }, typeof manifest === 'string' ? manifest : JSON.stringify(manifest));
  for (const { text, ...header } of entries) {
    if (header.type === undefined || header.type === 'file') tar.entry(header, text ?? header.name);
    else tar.entry({ ...header, size: 0 });
  }
  tar.finalize();
  const chunks: Uint8Array[] = [];
  for await (const chunk of tar) chunks.push(chunk as Uint8Array);
  return gzipSync(Buffer.concat(chunks));
}
