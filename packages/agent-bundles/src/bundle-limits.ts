import { bundleRefused } from './bundle-errors.ts';

/** Bounds of a bundle; beyond one it is refused with `BUNDLE_TOO_LARGE`. */
export interface BundleLimits {
  /** Bytes of the archive. Default 1 GiB. */
  readonly archiveBytesMax: number;
  /** Bytes of all files together. Default 4 GiB. */
  readonly unpackedBytesMax: number;
  /** Files and symbolic links. Default 50,000. */
  readonly filesMax: number;
  /** Bytes of the manifest. Default 16 MiB. */
  readonly manifestBytesMax: number;
}

/** What holds where nothing else is said. */
export const defaultBundleLimits: BundleLimits = {
  archiveBytesMax: 2 ** 30,
  unpackedBytesMax: 4 * 2 ** 30,
  filesMax: 50_000,
  manifestBytesMax: 16 * 2 ** 20,
};

/** Bytes of a path, and of a symbolic link's target. */
export const bundlePathBytesMax = 1_024;

/** Throws `BUNDLE_TOO_LARGE` if `value` is above `max`. */
export function keepWithin(limit: keyof BundleLimits, value: number, limits: BundleLimits): void {
  const max = limits[limit];
  if (value <= max) return;
  throw bundleRefused('BUNDLE_TOO_LARGE', `the bundle is too large: ${limit} is ${max}, and it has ${value} or more`, {
    limit,
    max,
  });
}
