import semver from 'semver';
import { bundleRefused } from './bundle-errors.ts';

/** Of the machine that runs this process, e.g. `linux-x64`: Node's names of system and processor. */
export const ownPlatform = `${process.platform}-${process.arch}`;

/** Returns `version` if it is a version as Semantic Versioning 2.0.0 has it, at most 64 characters. Throws `BUNDLE_INVALID`. */
export function checkBundleVersion(version: string): string {
  if (version.length <= 64 && semver.parse(version)?.raw === version) return version;
  throw bundleRefused(
    'BUNDLE_INVALID',
    `version ${JSON.stringify(version)} is none; allowed are those of Semantic Versioning, e.g. 1.4.0 or 1.5.0-rc.1`,
  );
}

/** Returns `platform` if it is `any` or like {@link ownPlatform}. Throws `BUNDLE_INVALID`. */
export function checkBundlePlatform(platform: string): string {
  if (/^(any|[a-z0-9]{1,16}-[a-z0-9_]{1,16})$/.test(platform)) return platform;
  throw bundleRefused(
    'BUNDLE_INVALID',
    `platform ${JSON.stringify(platform)} is none; allowed are "any" and SYSTEM-PROCESSOR, e.g. ${ownPlatform}`,
  );
}

/** True if `version` goes before `than` in the order of Semantic Versioning; false where `than` is no version. */
export function isOlderVersion(version: string, than: string): boolean {
  return semver.valid(than) !== null && semver.lt(version, than);
}
