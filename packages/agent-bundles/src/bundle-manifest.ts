import { z } from 'zod';
import { bundleRefused } from './bundle-errors.ts';
import { keepWithin, type BundleLimits } from './bundle-limits.ts';
import { checkBundlePlatform, checkBundleVersion } from './bundle-name.ts';
import { checkBundleLink, checkBundlePath } from './bundle-path.ts';

/** Name of the manifest in a bundle: its first entry. */
export const bundleManifestName = 'drover-bundle.json';

const fileSchema = z.strictObject({
  path: z.string(),
  sizeBytes: z.int().min(0),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  executable: z.boolean(),
});
const linkSchema = z.strictObject({ path: z.string(), target: z.string() });
const manifestSchema = z.strictObject({
  format: z.literal(1),
  version: z.string(),
  platform: z.string(),
  entry: z.string(),
  files: z.array(fileSchema),
  links: z.array(linkSchema),
});

/** What a bundle is and all that is in it. */
export interface BundleManifest {
  readonly format: 1;
  readonly version: string;
  /** `any`, or SYSTEM-PROCESSOR as Node names them. */
  readonly platform: string;
  /** Path of the file that starts the agent: a program, or JavaScript that the supervisor's Node runs (`.mjs`, `.js`). */
  readonly entry: string;
  readonly files: readonly BundleFile[];
  readonly links: readonly BundleLink[];
}

/** A file of a bundle. */
export interface BundleFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
  readonly executable: boolean;
}

/** A symbolic link of a bundle. */
export interface BundleLink {
  readonly path: string;
  readonly target: string;
}

/** Reads a manifest and checks it whole. Throws `BUNDLE_INVALID` and what its paths and links throw. */
export function parseBundleManifest(text: string, limits: BundleLimits): BundleManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw bundleRefused('BUNDLE_INVALID', `${bundleManifestName} is no JSON`);
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const [fault] = parsed.error.issues;
    throw bundleRefused('BUNDLE_INVALID', `${bundleManifestName}: ${fault!.path.join('.')}: ${fault!.message}`);
  }
  checkBundleManifest(parsed.data, limits);
  return parsed.data;
}

/** Throws for a manifest that no bundle may have. */
export function checkBundleManifest(manifest: BundleManifest, limits: BundleLimits): void {
  checkBundleVersion(manifest.version);
  checkBundlePlatform(manifest.platform);
  const { files, links, entry } = manifest;
  keepWithin('filesMax', files.length + links.length, limits);
  keepWithin(
    'unpackedBytesMax',
    files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    limits,
  );
  const places = new Set<string>();
  for (const { path } of [...files, ...links]) {
    checkBundlePath(path);
    // Two names that a file system may take for one could put a file behind a link.
    const place = foldedPath(path);
    if (places.has(place) || place === bundleManifestName) {
      throw bundleRefused('BUNDLE_INVALID', `path ${JSON.stringify(path)} stands twice, or differs by case alone`);
    }
    places.add(place);
  }
  for (const { path } of [...files, ...links]) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1)) {
      if (!places.has(foldedPath(path.slice(0, at)))) continue;
      throw bundleRefused('BUNDLE_INVALID', `path ${JSON.stringify(path)} lies behind a file or a symbolic link`);
    }
  }
  for (const { path, target } of links) checkBundleLink(path, target);
  checkBundlePath(entry);
  if (!files.some(({ path }) => path === entry)) {
    throw bundleRefused('BUNDLE_INVALID', `the entry ${JSON.stringify(entry)} is no file of the bundle`);
  }
}

function foldedPath(path: string): string {
  return path.normalize('NFC').toLowerCase();
}
