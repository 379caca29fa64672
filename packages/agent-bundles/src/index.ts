export { buildBundle, type BuildBundleOptions, type BuiltBundle } from './build-bundle.ts';
export type { BundleFault } from './bundle-errors.ts';
export type { BundleLimits } from './bundle-limits.ts';
export type { BundleFile, BundleLink, BundleManifest } from './bundle-manifest.ts';
export { ownPlatform } from './bundle-name.ts';
export {
  bundleSignatureBytesMax,
  checkBundleStatement,
  readBundleStatement,
  signBundle,
  verifyBundleSignature,
  type BundleStatement,
  type WantedBundle,
} from './bundle-signature.ts';
export { generateSigningKey, parseSigningKey, parseTrustedKey, type TrustedKey } from './signing-key.ts';
export { unpackBundle, type UnpackBundleOptions } from './unpack-bundle.ts';
